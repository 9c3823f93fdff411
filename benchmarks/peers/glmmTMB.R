# glmmTMB.

source(file.path(dirname(sub("--file=", "", grep("--file=", commandArgs(), value = TRUE))), "common.R"))
suppressMessages(suppressWarnings(library(glmmTMB)))

data <- read_data(task)
family <- list(gaussian = gaussian, bernoulli = binomial, poisson = poisson)[[task$kind]]
fit <- function() suppressWarnings(glmmTMB(task$formula, data, family = family()))
run(task, "glmmTMB", fit, function(found) {
  list(loglik = logLik(found), sds = sds_of(VarCorr(found)$cond))
})
