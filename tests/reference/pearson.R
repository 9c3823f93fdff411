# Pearson residuals, for tests/result/test_pearson.py: response minus mean, over the square root of the variance.
# Rscript tests/reference/pearson.R lmeformula/data tests/reference/pearson.json
# Where glmmTMB leaves a dispersion out of the variance, as for normal, gamma and beta responses, it is put in here.
suppressPackageStartupMessages({library(glmmTMB); library(lme4)})
args <- commandArgs(TRUE)
load_csv <- function(name) read.csv(gzfile(file.path(args[1], paste0(name, ".csv.gz"))))
salamanders <- load_csv("Salamanders"); salamanders$site <- factor(salamanders$site)
salamanders$mined <- factor(salamanders$mined, levels = c("no", "yes"))
salamanders$amount <- (1 + salamanders$count) * exp(0.3 * salamanders$DOY)
salamanders$share <- (0.5 + salamanders$count) / (1 + max(salamanders$count))
salamanders$weight <- salamanders$count * exp(0.3 * salamanders$DOY)
salamanders$w <- 1 + (seq_len(nrow(salamanders)) %% 3)
cbpp <- load_csv("cbpp"); for (v in c("herd", "period")) cbpp[[v]] <- factor(cbpp[[v]])
tmb <- function(formula, family, data = salamanders, zi = ~0, ...) glmmTMB(formula, data, family, ziformula = zi, ...)
count <- count ~ mined + (1 | site)
fits <- list(
  poisson = tmb(count, poisson), nbinom2 = tmb(count, nbinom2), nbinom1 = tmb(count, nbinom1),
  generalized_poisson = tmb(count, genpois),
  zero_inflated_poisson = tmb(count, poisson, zi = ~1), zero_inflated_nbinom2 = tmb(count, nbinom2, zi = ~1),
  zero_inflated_poisson_zi = tmb(count, poisson, zi = ~mined),
  nbinom2_dispersion = tmb(count, nbinom2, dispformula = ~mined),
  gaussian = tmb(amount ~ mined + (1 | site), gaussian), 
  gamma = tmb(amount ~ mined + (1 | site), Gamma("log")), beta = tmb(share ~ mined + (1 | site), beta_family()),
  tweedie = tmb(weight ~ mined + (1 | site), tweedie("log")),
  binomial = tmb(cbind(incidence, size - incidence) ~ period + (1 | herd), binomial, cbpp),
  beta_binomial = tmb(cbind(incidence, size - incidence) ~ period + (1 | herd), betabinomial, cbpp))
left_out <- function(name, fit) { s <- sigma(fit)
  switch(name, gaussian = s^2, gamma = s^2, beta = 1 / (1 + s),
         beta_binomial = (s + cbpp$size) / (s + 1), 1) }
of <- function(name) { r <- residuals(fits[[name]], type = "pearson") / sqrt(left_out(name, fits[[name]]))
  list(first = unname(head(r, 6)), square = mean(r^2)) }
out <- sapply(names(fits), of, simplify = FALSE)
normal <- lmer(amount ~ mined + (1 | site), salamanders, REML = FALSE, weights = w)
r <- residuals(normal, type = "pearson", scaled = TRUE)
out$gaussian_weights <- list(first = unname(head(r, 6)), square = mean(r^2))
about <- sprintf("glmmTMB %s, lme4 %s, %s", packageVersion("glmmTMB"), packageVersion("lme4"), R.version.string)
writeLines(jsonlite::toJSON(list(versions = about, residuals = out), digits = 10, auto_unbox = TRUE, pretty = TRUE), args[2])
