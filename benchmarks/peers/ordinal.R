# ordinal: clmm, the Laplace approximation.

source(file.path(dirname(sub("--file=", "", grep("--file=", commandArgs(), value = TRUE))), "common.R"))
suppressMessages(library(ordinal))

data <- read_data(task)
data$y <- factor(data$y, ordered = TRUE)
fit <- function() clmm(task$formula, data, link = "logit")
run(task, "ordinal", fit, function(found) list(loglik = logLik(found), sds = sds_of(VarCorr(found))))
