# Marginal means on other scales than the predictor's, for tests/result/test_emmeans_scales.py.
# Rscript tests/reference/scales.R lmeformula/data tests/reference/scales.json
suppressPackageStartupMessages({library(lme4); library(lmerTest); library(glmmTMB); library(ordinal); library(emmeans)})
args <- commandArgs(TRUE)
load_csv <- function(name) read.csv(gzfile(file.path(args[1], paste0(name, ".csv.gz"))))
emm_options(lmer.df = "satterthwaite")
tight <- lmerControl(optimizer = "bobyqa", optCtrl = list(rhoend = 1e-9, maxfun = 1e5))
cake <- load_csv("cake"); for (v in c("replicate", "recipe")) cake[[v]] <- factor(cake[[v]])
wine <- load_csv("wine"); for (v in c("contact", "judge")) wine[[v]] <- factor(wine[[v]])
wine$temp <- factor(wine$temp, levels = c("cold", "warm")); wine$rating <- factor(wine$rating, ordered = TRUE)
salamanders <- load_csv("Salamanders"); salamanders$site <- factor(salamanders$site)
salamanders$mined <- factor(salamanders$mined, levels = c("no", "yes"))
plain <- function(frame) lapply(as.list(as.data.frame(frame)), function(col) if (is.factor(col)) as.character(col) else col)
em <- function(x, ...) plain(summary(x, infer = c(TRUE, TRUE), ...))
out <- list()

# Transformed responses: medians, and for logarithms ratios.
for (way in c("log(angle)", "log(angle, 10)", "log2(angle)", "sqrt(angle)", "1/angle", "log(angle + 2)")) {
  written <- switch(way, "log(angle, 10)" = "log10(angle)", way)
  fit <- eval(bquote(lmerTest::lmer(.(as.formula(paste(written, "~ recipe + temp + (1 | recipe:replicate)"))), cake, control = tight)))
  means <- emmeans(fit, "recipe")
  back <- list("log(angle)" = "log", "log(angle, 10)" = "log10", "log2(angle)" = "log2", "sqrt(angle)" = "sqrt",
               "1/angle" = "inverse")[[way]]
  if (!is.null(back)) means <- update(means, tran = back)
  out$transformed[[way]] <- list(means = em(means, type = "response"),
    pairs = if (grepl("log", way) && !grepl("2)", way)) em(pairs(means), type = "response", adjust = "none"))
}
# Ordered categories: the latent scale, and mean categories averaged over the other factor.
for (link in c("logit", "probit")) {
  fit <- clmm(rating ~ temp + contact + (1 | judge), data = wine, link = link)
  class <- emmeans(fit, ~ temp, mode = "mean.class")
  out$ordered[[link]] <- list(latent = em(emmeans(fit, ~ temp)), latent_pairs = em(pairs(emmeans(fit, ~ temp))),
    class = em(class), class_pairs = em(pairs(class)))
}
# Ratios of mean responses: of zero-inflated counts those of the counts, of hurdle counts by the delta method.
numbers <- function(fit, k) {  # the fixed effects, then what is estimated of the zero part and the dispersion
  full <- vcov(fit, full = TRUE); full[1:k, 1:k]
}
tmb <- function(family) glmmTMB(count ~ mined + (1 | site), salamanders, family, ziformula = ~1)
fit <- tmb(poisson)
out$ratios$zero_inflated_poisson <- em(pairs(emmeans(fit, "mined")), type = "response")
fit <- tmb(truncated_poisson)
log_mean <- function(p) { eta <- c(p[1], p[1] + p[2]); mu <- exp(eta); log(1 - plogis(p[3])) + log(mu) - log(1 - exp(-mu)) }
log_ratio <- function(p) -diff(log_mean(p))
p <- c(fixef(fit)$cond, fixef(fit)$zi); V <- numbers(fit, 3)
G <- numDeriv::grad(log_ratio, p)
out$ratios$hurdle_poisson <- list(log_ratio = log_ratio(p), std_error = sqrt(drop(G %*% V %*% G)))
about <- sprintf("emmeans %s, lme4 %s, lmerTest %s, ordinal %s, glmmTMB %s, %s", packageVersion("emmeans"), packageVersion("lme4"),
                 packageVersion("lmerTest"), packageVersion("ordinal"), packageVersion("glmmTMB"), R.version.string)
writeLines(jsonlite::toJSON(c(list(versions = about), out), digits = 10, auto_unbox = TRUE, pretty = TRUE), args[2])
