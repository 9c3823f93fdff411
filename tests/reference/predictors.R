# Fits with formulas for dispersion and zeros by glmmTMB, and one with a scale by ordinal::clm, for predictors.json:
# Rscript predictors.R DATA_FOLDER > predictors.json
suppressMessages({library(glmmTMB); library(ordinal)})
folder <- commandArgs(trailingOnly = TRUE)[1]
read <- function(name) read.csv(gzfile(file.path(folder, paste0(name, ".csv.gz"))), stringsAsFactors = TRUE)
numbers <- function(x) paste0("[", paste(sprintf("%.12g", x), collapse = ", "), "]")
entry <- function(id, data, formulas, family, source, loglik, df, fixed, se, sd, own) {
  texts <- paste(sprintf('"%s": "%s"', names(formulas), formulas), collapse = ", ")
  sprintf(paste0('{"id": "%s", "data": "%s", "formulas": {%s}, "family": "%s", "source": "%s, R %s", ',
                 '"logLik": %.10f, "df": %d, "fixed": %s, "fixed_se": %s, "sd": %s, "own": %s}'),
          id, data, texts, family, source, getRversion(), loglik, as.integer(df), numbers(fixed), numbers(se),
          numbers(sd), numbers(own))
}
# `parts` names glmmTMB's further predictors in the order of the formulas, `scale` what ours are times theirs.
tmb <- function(id, data, formulas, family, fit, parts, own = numeric(0), scale = 1) {
  sd <- unlist(lapply(c("cond", "zi"), function(part) lapply(VarCorr(fit)[[part]], attr, "stddev")))
  fixed <- c(fixef(fit)$cond, scale * unlist(fixef(fit)[parts]))
  se <- c(sqrt(diag(vcov(fit)$cond)), abs(scale) * unlist(lapply(vcov(fit)[parts], function(v) sqrt(diag(v)))))
  entry(id, data, formulas, family, paste("glmmTMB", packageVersion("glmmTMB")), logLik(fit), attr(logLik(fit), "df"),
        fixed, se, sd, own)
}
exact <- glmmTMBControl(optCtrl = list(iter.max = 1e4, eval.max = 1e4, rel.tol = 1e-13))
sleep <- read("sleepstudy"); wine <- read("wine"); salamanders <- read("Salamanders")
sleep$Subject <- factor(sleep$Subject); salamanders$mined <- factor(salamanders$mined, c("yes", "no"))
wine$rating <- ordered(wine$rating)
count <- function(...) glmmTMB(count ~ mined + (1 | site), salamanders, control = exact, ...)
spotted <- "count ~ mined + (1 | site)"
clm <- clm(rating ~ temp, scale = ~contact, data = wine)
entries <- c(
  # Its dispersion is a variance, ours the standard deviation.
  tmb("sleep-sigma", "sleepstudy", c(mu = "Reaction ~ Days + (Days | Subject)", sigma = "~ Days"), "gaussian",
      glmmTMB(Reaction ~ Days + (Days | Subject), sleep, dispformula = ~Days, control = exact), "disp", scale = 0.5),
  tmb("sleep-gamma", "sleepstudy", c(mu = "Reaction ~ Days + (1 | Subject)", shape = "~ Days"), "gamma",
      glmmTMB(Reaction ~ Days + (1 | Subject), sleep, family = Gamma("log"), dispformula = ~Days, control = exact),
      "disp"),
  tmb("wine-beta", "wine", c(mu = "I(response / 100) ~ temp + contact + (1 | judge)", phi = "~ temp"), "beta",
      glmmTMB(I(response / 100) ~ temp + contact + (1 | judge), wine, family = beta_family(), dispformula = ~temp,
              control = exact), "disp"),
  tmb("wine-betabinomial", "wine",
      c(mu = "cbind(response, 100 - response) ~ temp + contact + (1 | judge)", precision = "~ temp"), "beta_binomial",
      glmmTMB(cbind(response, 100 - response) ~ temp + contact + (1 | judge), wine, family = betabinomial,
              dispformula = ~temp, control = exact), "disp"),
  tmb("salamanders-nbinom2", "Salamanders", c(mu = spotted, dispersion = "~ mined"), "nbinom2",
      count(family = nbinom2, dispformula = ~mined), "disp"),
  tmb("salamanders-nbinom1", "Salamanders", c(mu = spotted, dispersion = "~ mined"), "nbinom1",
      count(family = nbinom1, dispformula = ~mined), "disp"),
  tmb("salamanders-zip", "Salamanders", c(mu = spotted, zi = "~ mined + (1 | site)"), "zero_inflated_poisson",
      count(family = poisson, ziformula = ~mined + (1 | site)), "zi"),
  tmb("salamanders-zinb2", "Salamanders", c(mu = spotted, zero_probability = "~ mined"), "zero_inflated_nbinom2",
      count(family = nbinom2, ziformula = ~mined), "zi", own = sigma(count(family = nbinom2, ziformula = ~mined))),
  tmb("salamanders-hurdle-poisson", "Salamanders", c(mu = spotted, hu = "~ mined + (1 | site)"), "hurdle_poisson",
      count(family = truncated_poisson, ziformula = ~mined + (1 | site)), "zi"),
  tmb("salamanders-hurdle-nbinom2", "Salamanders", c(mu = spotted, dispersion = "~ mined", hu = "~ mined"),
      "hurdle_nbinom2", count(family = truncated_nbinom2, ziformula = ~mined, dispformula = ~mined), c("disp", "zi")),
  # Without random effects, which clmm has none of beside a scale. Its scale is one over ours.
  entry("wine-disc", "wine", c(mu = "rating ~ temp", disc = "~ contact"), "cumulative",
        paste("ordinal", packageVersion("ordinal"), "clm"), logLik(clm), attr(logLik(clm), "df"),
        c(clm$beta, -clm$zeta), sqrt(diag(vcov(clm)))[5:6], numeric(0), clm$alpha))
cat("[\n", paste(entries, collapse = ",\n"), "\n]\n", sep = "")
