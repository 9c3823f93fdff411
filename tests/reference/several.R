# Marginal means of one of several linear predictors, for tests/result/test_emmeans_several.py.
# Rscript tests/reference/several.R lmeformula/data tests/reference/several.json
suppressPackageStartupMessages({library(glmmTMB); library(nnet); library(emmeans)})
args <- commandArgs(TRUE)
load_csv <- function(name) read.csv(gzfile(file.path(args[1], paste0(name, ".csv.gz"))))
salamanders <- load_csv("Salamanders")
for (v in c("site", "spp")) salamanders[[v]] <- factor(salamanders[[v]])
salamanders$visit <- factor(salamanders$sample)
salamanders$mined <- factor(salamanders$mined, levels = c("yes", "no"))
wine <- load_csv("wine"); for (v in c("contact", "judge")) wine[[v]] <- factor(wine[[v]])
wine$temp <- factor(wine$temp, levels = c("cold", "warm"))
wine$kind <- factor(c("low", "low", "mid", "high", "high")[wine$rating], levels = c("low", "mid", "high"))
exact <- glmmTMBControl(optCtrl = list(iter.max = 1e4, eval.max = 1e4, rel.tol = 1e-13))
plain <- function(frame) lapply(as.list(as.data.frame(frame)), function(col) if (is.factor(col)) as.character(col) else col)
# Normal quantiles in place of t's with the residual degrees of freedom.
em <- function(x, ...) plain(summary(update(x, df = Inf), infer = c(TRUE, TRUE), ...))
out <- list()
# A grid of two factors and a number, of which one factor is averaged over.
of <- function(fit, component) {
  means <- emmeans(fit, "mined", component = component)
  list(link = em(means), response = em(means, type = "response"), pairs = em(pairs(means)),
       ratios = em(pairs(means), type = "response"), 
       joint = plain(joint_tests(update(ref_grid(fit, component = component), df = Inf))),
       slope = em(emtrends(fit, ~1, var = "cover", component = component)))
}
zero <- glmmTMB(count ~ mined + visit + cover + (1 | site), salamanders, poisson, ziformula = ~mined + visit + cover,
                control = exact)
out$zero_inflated_poisson <- list(mu = of(zero, "cond"), zi = of(zero, "zi"))
spread <- glmmTMB(count ~ mined + visit + cover + (1 | site), salamanders, nbinom2, dispformula = ~mined + visit + cover,
                  control = exact)
out$nbinom2 <- list(mu = of(spread, "cond"), dispersion = of(spread, "disp"))
# Chances of categories, averaged over the other factor; fixed effects only, which the test takes as they are.
kinds <- multinom(kind ~ temp + contact, wine, trace = FALSE, reltol = 1e-14, maxit = 1000)
chances <- emmeans(kinds, ~ kind | temp, mode = "prob")
out$categorical <- list(
  coef = c(t(coef(kinds))), names = rownames(vcov(kinds)), vcov = unname(vcov(kinds)),
  chances = em(chances), pairs = em(pairs(chances), adjust = "none"),
  within = em(pairs(emmeans(kinds, ~ temp | kind, mode = "prob"))))
about <- sprintf("emmeans %s, glmmTMB %s, nnet %s, %s", packageVersion("emmeans"), packageVersion("glmmTMB"),
                 packageVersion("nnet"), R.version.string)
writeLines(jsonlite::toJSON(c(list(versions = about), out), digits = 10, auto_unbox = TRUE, pretty = TRUE), args[2])
