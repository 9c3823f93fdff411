# lme4: lmer and glmer; with the method "refit", of the response again.

source(file.path(dirname(sub("--file=", "", grep("--file=", commandArgs(), value = TRUE))), "common.R"))
suppressMessages(library(lme4))

data <- read_data(task)
family <- list(bernoulli = binomial, poisson = poisson)[[task$kind]]
fit <- function() {
  if (task$kind == "gaussian") lmer(task$formula, data, REML = FALSE)
  else glmer(task$formula, data, family = family())
}
if (task$method == "refit") {
  first <- fit()
  y <- getME(first, "y")
  fit <- function() refit(first, y)
}
run(task, "lme4", fit, function(found) list(loglik = logLik(found), sds = sds_of(VarCorr(found))))
