# lme4: lmer and glmer; with the method "refit", of the response again; with "bootstrap", of 1,000 that are drawn;
# with "quadrature", by 25 nodes.

source(file.path(dirname(sub("--file=", "", grep("--file=", commandArgs(), value = TRUE))), "common.R"))
suppressMessages(library(lme4))

data <- read_data(task)
family <- list(bernoulli = binomial, binomial = binomial, poisson = poisson)[[task$kind]]
nodes <- if (task$method == "quadrature") 25L else 1L
fit <- function() {
  if (task$kind == "gaussian") lmer(task$formula, data, REML = FALSE)
  else glmer(task$formula, data, family = family(), nAGQ = nodes)
}
if (task$method == "refit") {
  first <- fit()
  y <- getME(first, "y")
  fit <- function() refit(first, y)
}
if (task$method == "bootstrap") {
  first <- fit()
  fit <- function() {
    bootMer(first, function(found) c(fixef(found), sds_of(VarCorr(found))), nsim = 1000, seed = 1)
    first
  }
}
run(task, "lme4", fit, function(found) list(loglik = logLik(found), sds = sds_of(VarCorr(found))))
