# Standard errors of mean responses and of chances, for tests/result/test_mean_intervals.py.
# Rscript tests/reference/means.R lmeformula/data tests/reference/means.json
suppressPackageStartupMessages({library(glmmTMB); library(ordinal); library(emmeans)})
args <- commandArgs(TRUE)
load_csv <- function(name) read.csv(gzfile(file.path(args[1], paste0(name, ".csv.gz"))))
wine <- load_csv("wine")
for (v in c("temp", "contact", "judge")) wine[[v]] <- factor(wine[[v]])
wine$rating <- factor(wine$rating, ordered = TRUE)
wine$temp <- factor(wine$temp, levels = c("cold", "warm"))
salamanders <- load_csv("Salamanders")
for (v in c("mined", "site")) salamanders[[v]] <- factor(salamanders[[v]])
salamanders$mined <- factor(salamanders$mined, levels = c("no", "yes"))
# Positive amounts, shares and amounts with zeros, made of the same columns.
salamanders$amount <- (1 + salamanders$count) * exp(0.3 * salamanders$DOY)
salamanders$share <- (0.5 + salamanders$count) / (1 + max(salamanders$count))
salamanders$weight <- salamanders$count * exp(0.3 * salamanders$DOY)

frame <- function(found) list(estimate = found$fit, std_error = found$se.fit)
new <- expand.grid(mined = factor(c("no", "yes"), levels = c("no", "yes")), site = NA)
mean_of <- function(fit) frame(predict(fit, new, type = "response", re.form = NA, se.fit = TRUE))
tmb <- function(formula, family, zi = ~0, disp = ~1)
  glmmTMB(formula, salamanders, family, ziformula = zi, dispformula = disp)
fits <- list(
  zero_inflated_poisson = tmb(count ~ mined + (1 | site), poisson, ~1),
  zero_inflated_nbinom2 = tmb(count ~ mined + (1 | site), nbinom2, ~1),
  hurdle_poisson = tmb(count ~ mined + (1 | site), truncated_poisson, ~1),
  hurdle_nbinom2 = tmb(count ~ mined + (1 | site), truncated_nbinom2, ~1),
  zero_inflated_poisson_zi = tmb(count ~ mined + (1 | site), poisson, ~mined),
  nbinom2_dispersion = tmb(count ~ mined + (1 | site), nbinom2, ~0, ~mined),
  nbinom2 = tmb(count ~ mined + (1 | site), nbinom2),
  nbinom1 = tmb(count ~ mined + (1 | site), nbinom1),
  gamma = tmb(amount ~ mined + (1 | site), Gamma("log")),
  beta = tmb(share ~ mined + (1 | site), beta_family()),
  tweedie = tmb(weight ~ mined + (1 | site), tweedie("log")))
out <- lapply(fits, mean_of)

# Lognormal: the normal model of the logarithm, and the delta method for exp(eta + sigma^2 / 2) by hand.
logs <- glmmTMB(log(amount) ~ mined + (1 | site), salamanders)
full <- vcov(logs, full = TRUE)[1:3, 1:3]  # fixed effects, then log sd (glmmTMB 1.1.5: log sigma^2)
b <- fixef(logs)$cond; s <- sigma(logs)
par <- logs$fit$par
hessian_scale <- if (abs(exp(par[["betad"]]) - s^2) < 1e-6) 0.5 else 1
X <- rbind(c(1, 0), c(1, 1))
m <- exp(drop(X %*% b) + s^2 / 2)
G <- cbind(X, s^2 * hessian_scale) * m
out$lognormal <- list(estimate = m, std_error = sqrt(diag(G %*% full %*% t(G))))

clmm_of <- function(link) clmm(rating ~ temp + contact + (1 | judge), data = wine, link = link)
for (link in c("logit", "probit")) {
  fit <- clmm_of(link)
  at <- list(contact = "no")
  chance <- summary(emmeans(fit, ~ temp | rating, mode = "prob", at = at))
  mean_class <- summary(emmeans(fit, ~ temp, mode = "mean.class", at = at))
  out[[paste0("cumulative_", link)]] <- list(
    chances = list(estimate = chance$prob, std_error = chance$SE),
    estimate = mean_class$mean.class, std_error = mean_class$SE)
}

# Stopping ratios: a yes or no for each threshold that a row came to; the chances by the delta method.
steps <- do.call(rbind, lapply(1:4, function(k) {
  here <- wine[as.integer(wine$rating) >= k, ]
  data.frame(stop = as.integer(as.integer(here$rating) == k), step = k, temp = here$temp, judge = here$judge)
}))
steps$step <- factor(steps$step)
ratio <- glmmTMB(stop ~ 0 + step + temp + (1 | judge), steps, binomial)
chances_of <- function(par, warm) {
  p <- plogis(par[1:4] + par[5] * warm)
  passed <- cumprod(c(1, 1 - p))
  c(passed[1:4] * p, passed[5])
}
par <- fixef(ratio)$cond; V <- vcov(ratio)$cond
by_delta <- function(f) {
  J <- sapply(seq_along(par), function(j) {
    h <- replace(numeric(5), j, 1e-5); (f(par + h) - f(par - h)) / 2e-5 })
  J <- matrix(J, ncol = 5)
  list(estimate = f(par), std_error = sqrt(diag(J %*% V %*% t(J))))
}
out$sratio <- lapply(0:1, function(warm) list(
  chances = by_delta(function(p) chances_of(p, warm)),
  mean = by_delta(function(p) sum(1:5 * chances_of(p, warm)))))
versions <- sapply(c("glmmTMB", "ordinal", "emmeans"), function(p) as.character(packageVersion(p)))
writeLines(jsonlite::toJSON(list(versions = as.list(versions), R = R.version.string, means = out),
  digits = 8, auto_unbox = TRUE, pretty = TRUE), args[2])
