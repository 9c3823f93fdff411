# Fits with covariance structures of glmmTMB, for structures.json: Rscript structures.R DATA_FOLDER > structures.json
suppressMessages(library(glmmTMB))
folder <- commandArgs(trailingOnly = TRUE)[1]
read <- function(name) read.csv(gzfile(file.path(folder, paste0(name, ".csv.gz"))))
numbers <- function(x) paste0("[", paste(sprintf("%.12g", x), collapse = ", "), "]")
entry <- function(id, data, formula, fit) {
  covariance <- VarCorr(fit)$cond[[1]]
  sd <- attr(covariance, "stddev")
  sprintf(paste0('{"id": "%s", "data": "%s", "formula": "%s", "family": "%s", "source": "glmmTMB %s, R %s", ',
                 '"logLik": %.10f, "df": %d, "fixed": %s, "fixed_se": %s, "sd": %s, "correlation": %.10g, "sigma": %.10g}'),
          id, data, formula, family(fit)$family, packageVersion("glmmTMB"), getRversion(), logLik(fit),
          attr(logLik(fit), "df"), numbers(fixef(fit)$cond), numbers(sqrt(diag(vcov(fit)$cond))), numbers(sd),
          attr(covariance, "correlation")[1, 2], sigma(fit))
}
machines <- read("Machines"); epil <- read("epil2")
machines$Machine <- factor(machines$Machine); epil$period <- factor(epil$period)
long <- glmmTMBControl(optCtrl = list(iter.max = 1e4, eval.max = 1e4))
entries <- c(
  entry("machines-cs", "Machines", "score ~ Machine + cs(0 + Machine | Worker)",
        glmmTMB(score ~ Machine + cs(0 + Machine | Worker), machines, control = long)),
  entry("machines-ar1", "Machines", "score ~ Machine + ar1(0 + Machine | Worker)",
        glmmTMB(score ~ Machine + ar1(0 + Machine | Worker), machines, control = long)),
  entry("epil-ar1", "epil2", "y ~ Base * trt + Age + ar1(0 + factor(period) | subject)",
        glmmTMB(y ~ Base * trt + Age + ar1(0 + period | subject), epil, family = poisson, control = long)),
  entry("epil-cs", "epil2", "y ~ Base * trt + Age + cs(0 + factor(period) | subject)",
        glmmTMB(y ~ Base * trt + Age + cs(0 + period | subject), epil, family = poisson, control = long)))
cat("[\n", paste(entries, collapse = ",\n"), "\n]\n", sep = "")
