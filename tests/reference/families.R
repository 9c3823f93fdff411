# Fits of response families by glmmTMB and lme4, for families.json: Rscript families.R DATA_FOLDER > families.json
suppressMessages({library(glmmTMB); library(lme4)})
folder <- commandArgs(trailingOnly = TRUE)[1]
read <- function(name) read.csv(gzfile(file.path(folder, paste0(name, ".csv.gz"))), stringsAsFactors = TRUE)
numbers <- function(x) paste0("[", paste(sprintf("%.12g", x), collapse = ", "), "]")
entry <- function(id, data, formula, family, source, loglik, df, fixed, se, sd, own) {
  sprintf(paste0('{"id": "%s", "data": "%s", "formula": "%s", "family": "%s", "source": "%s, R %s", ',
                 '"logLik": %.10f, "df": %d, "fixed": %s, "fixed_se": %s, "sd": %s, "own": %s}'),
          id, data, formula, family, source, getRversion(), loglik, as.integer(df), numbers(fixed), numbers(se),
          numbers(sd), numbers(own))
}
# `own` says what of a fit are the own parameters here.
tmb <- function(id, data, formula, family, fit, own) {
  sd <- unlist(lapply(VarCorr(fit)$cond, function(term) attr(term, "stddev")))
  entry(id, data, formula, family, paste("glmmTMB", packageVersion("glmmTMB")), logLik(fit), attr(logLik(fit), "df"),
        fixef(fit)$cond, sqrt(diag(vcov(fit)$cond)), sd, own(fit))
}
zero <- function(fit) plogis(fixef(fit)$zi)
exact <- glmmTMBControl(optCtrl = list(iter.max = 1e4, eval.max = 1e4, rel.tol = 1e-13))
sleep <- read("sleepstudy"); cbpp <- read("cbpp"); owls <- read("Owls"); wine <- read("wine"); epil <- read("epil2")
salamanders <- read("Salamanders")
cbpp$period <- factor(cbpp$period); sleep$Subject <- factor(sleep$Subject)
salamanders$mined <- factor(salamanders$mined, c("yes", "no"))
# Of the Laplace approximation lme4 has another than glmmTMB where the link is not canonical (expected weights), and
# its log-likelihood by quadrature lacks a constant: estimates by quadrature are compared with those by Monte Carlo EM.
cauchit <- glmer(cbind(incidence, size - incidence) ~ period + (1 | herd), cbpp, binomial("cauchit"), nAGQ = 25,
                 control = glmerControl(optimizer = "bobyqa", optCtrl = list(rhoend = 1e-9, maxfun = 1e5)))
lognormal <- lmer(log(Reaction) ~ Days + (1 | Subject), sleep, REML = FALSE,
                  control = lmerControl(optimizer = "bobyqa", optCtrl = list(rhoend = 1e-12)))
bitter <- "cbind(response, 100 - response) ~ temp + contact + (1 | judge)"
cows <- "cbind(incidence, size - incidence) ~ period + (1 | herd)"
spotted <- "count ~ mined + (1 | site)"
entries <- c(
  tmb("sleep-student", "sleepstudy", "Reaction ~ Days + (1 | Subject) + (0 + Days | Subject)", "student",
      glmmTMB(Reaction ~ Days + (1 | Subject) + (0 + Days | Subject), sleep, family = t_family, control = exact),
      function(fit) c(sigma(fit), family_params(fit))),
  entry("sleep-lognormal", "sleepstudy", "Reaction ~ Days + (1 | Subject)", "lognormal",
        paste("lme4", packageVersion("lme4"), "lmer of log(Reaction)"), logLik(lognormal) - sum(log(sleep$Reaction)),
        attr(logLik(lognormal), "df"), fixef(lognormal), sqrt(diag(vcov(lognormal))),
        attr(VarCorr(lognormal)[[1]], "stddev"), sigma(lognormal)),
  tmb("wine-betabinomial", "wine", bitter, "beta_binomial",
      glmmTMB(cbind(response, 100 - response) ~ temp + contact + (1 | judge), wine, family = betabinomial, control = exact),
      sigma),
  tmb("wine-betabinomial-cloglog", "wine", bitter, "beta_binomial(cloglog)",
      glmmTMB(cbind(response, 100 - response) ~ temp + contact + (1 | judge), wine, family = betabinomial("cloglog"),
              control = exact), sigma),
  tmb("wine-betabinomial-probit", "wine", bitter, "beta_binomial(probit)",
      glmmTMB(cbind(response, 100 - response) ~ temp + contact + (1 | judge), wine, family = betabinomial("probit"),
              control = exact), sigma),
  entry("cbpp-cauchit-agq25", "cbpp", cows, "binomial(cauchit)", paste("lme4", packageVersion("lme4")), logLik(cauchit),
        attr(logLik(cauchit), "df"), fixef(cauchit), sqrt(diag(vcov(cauchit))), attr(VarCorr(cauchit)[[1]], "stddev"),
        numeric(0)),
  tmb("salamanders-zip", "Salamanders", spotted, "zero_inflated_poisson",
      glmmTMB(count ~ mined + (1 | site), salamanders, family = poisson, ziformula = ~1, control = exact), zero),
  tmb("salamanders-zinb2", "Salamanders", spotted, "zero_inflated_nbinom2",
      glmmTMB(count ~ mined + (1 | site), salamanders, family = nbinom2, ziformula = ~1, control = exact),
      function(fit) c(sigma(fit), zero(fit))),
  tmb("owls-zinb2", "Owls", "SiblingNegotiation ~ FoodTreatment + ArrivalTime + offset(logBroodSize) + (1 | Nest)",
      "zero_inflated_nbinom2",
      glmmTMB(SiblingNegotiation ~ FoodTreatment + ArrivalTime + offset(logBroodSize) + (1 | Nest), owls,
              family = nbinom2, ziformula = ~1, control = exact), function(fit) c(sigma(fit), zero(fit))),
  tmb("salamanders-hurdle-poisson", "Salamanders", spotted, "hurdle_poisson",
      glmmTMB(count ~ mined + (1 | site), salamanders, family = truncated_poisson, ziformula = ~1, control = exact), zero),
  tmb("salamanders-hurdle-nbinom2", "Salamanders", spotted, "hurdle_nbinom2",
      glmmTMB(count ~ mined + (1 | site), salamanders, family = truncated_nbinom2, ziformula = ~1, control = exact),
      function(fit) c(sigma(fit), zero(fit))),
  # glmmTMB's parameter is the ratio of variance and mean.
  tmb("epil-genpois", "epil2", "y ~ Base * trt + Age + (1 | subject)", "generalized_poisson",
      glmmTMB(y ~ Base * trt + Age + (1 | subject), epil, family = genpois, control = exact),
      function(fit) sigma(fit) - 1),
  tmb("owls-tweedie", "Owls", "NegPerChick ~ FoodTreatment + ArrivalTime + (1 | Nest)", "tweedie",
      glmmTMB(NegPerChick ~ FoodTreatment + ArrivalTime + (1 | Nest), owls, family = tweedie, control = exact),
      function(fit) c(sigma(fit), family_params(fit))))
cat("[\n", paste(entries, collapse = ",\n"), "\n]\n", sep = "")
