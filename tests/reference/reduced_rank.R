# Fits with reduced-rank covariances of glmmTMB, for reduced_rank.json: Rscript reduced_rank.R DATA_FOLDER > reduced_rank.json
suppressMessages(library(glmmTMB))
folder <- commandArgs(trailingOnly = TRUE)[1]
read <- function(name) read.csv(gzfile(file.path(folder, paste0(name, ".csv.gz"))))
numbers <- function(x) paste0("[", paste(sprintf("%.12g", x), collapse = ", "), "]")
entry <- function(id, data, formula, fit) {
  covariance <- VarCorr(fit)$cond[[1]]
  sd <- attr(covariance, "stddev")
  sprintf(paste0('{"id": "%s", "data": "%s", "formula": "%s", "family": "%s", "reml": %s, "source": "glmmTMB %s, R %s", ',
                 '"logLik": %.10f, "df": %d, "fixed": %s, "fixed_se": %s, "covariance": %s, "sigma": %.10g}'),
          id, data, formula, family(fit)$family, tolower(isTRUE(fit$modelInfo$REML)), packageVersion("glmmTMB"),
          getRversion(), logLik(fit), attr(logLik(fit), "df"), numbers(fixef(fit)$cond),
          numbers(sqrt(diag(vcov(fit)$cond))), numbers(as.matrix(covariance)[1:length(sd), 1:length(sd)]), sigma(fit))
}
machines <- read("Machines"); epil <- read("epil2")
machines$Machine <- factor(machines$Machine); epil$period <- factor(epil$period)
set.seed(1)
control <- function() glmmTMBControl(optCtrl = list(iter.max = 1e4, eval.max = 1e4), start_method = list(method = "res", jitter.sd = 0.2))
entries <- c(
  entry("machines-1", "Machines", "score ~ Machine + rr(0 + Machine | Worker, d = 1)",
        glmmTMB(score ~ Machine + rr(0 + Machine | Worker, d = 1), machines, control = control())),
  entry("machines-1-reml", "Machines", "score ~ Machine + rr(0 + Machine | Worker, d = 1)",
        glmmTMB(score ~ Machine + rr(0 + Machine | Worker, d = 1), machines, REML = TRUE, control = control())),
  entry("machines-2", "Machines", "score ~ Machine + rr(0 + Machine | Worker, d = 2)",
        glmmTMB(score ~ Machine + rr(0 + Machine | Worker, d = 2), machines, control = control())),
  entry("epil-1", "epil2", "y ~ Base * trt + Age + rr(0 + factor(period) | subject, d = 1)",
        glmmTMB(y ~ Base * trt + Age + rr(0 + period | subject, d = 1), epil, family = poisson, control = control())),
  entry("epil-2", "epil2", "y ~ Base * trt + Age + rr(0 + factor(period) | subject, d = 2)",
        glmmTMB(y ~ Base * trt + Age + rr(0 + period | subject, d = 2), epil, family = poisson, control = control())),
  entry("epil-1-diag", "epil2", "y ~ Base * trt + Age + rr(0 + factor(period) | subject, d = 1) + diag(0 + factor(period) | subject)",
        glmmTMB(y ~ Base * trt + Age + rr(0 + period | subject, d = 1) + diag(0 + period | subject), epil, family = poisson, control = control())))
cat("[\n", paste(entries, collapse = ",\n"), "\n]\n", sep = "")
