# Effects of levels with a known covariance, for related.json, by lme4's modular functions with Z'(L' x I) in place of
# Z', A = L L': Rscript related.R DATA_FOLDER > related.json
suppressMessages(library(lme4))
folder <- commandArgs(trailingOnly = TRUE)[1]
sleep <- read.csv(gzfile(file.path(folder, "sleepstudy.csv.gz"))); sleep$Subject <- factor(sleep$Subject)
cbpp <- read.csv(gzfile(file.path(folder, "cbpp.csv.gz")))
names(cbpp)[names(cbpp) == "size"] <- "n"
cbpp$herd <- factor(cbpp$herd, levels = sort(unique(cbpp$herd))); cbpp$period <- factor(cbpp$period)
A <- function(levels) { m <- outer(seq_along(levels), seq_along(levels), function(i, j) exp(-abs(i - j) / 3)); dimnames(m) <- list(levels, levels); m }
related <- function(parsed, group, k) {
  L <- t(chol(A(levels(parsed$reTrms$flist[[group]]))))
  parsed$reTrms$Zt <- kronecker(Matrix(t(L), sparse = TRUE), Diagonal(k)) %*% parsed$reTrms$Zt
  parsed
}
numbers <- function(x) paste0("[", paste(sprintf("%.12g", x), collapse = ", "), "]")
sds <- function(fit) { v <- VarCorr(fit)[[1]]; c(attr(v, "stddev"), attr(v, "correlation")[lower.tri(v)]) }
entry <- function(id, formula, family, reml, fit, L, k) {
  b <- as.vector(kronecker(L, diag(k)) %*% getME(fit, "b"))
  sprintf(paste0('{"id": "%s", "formula": "%s", "family": "%s", "source": "lme4 %s, R %s", "reml": %s, "logLik": %.10f, ',
                 '"sd": %s, "sigma": %.10g, "fixed": %s, "stderr": %s, "modes": %s}'),
          id, formula, family, packageVersion("lme4"), getRversion(), tolower(reml), as.numeric(logLik(fit)), numbers(sds(fit)),
          sigma(fit), numbers(fixef(fit)), numbers(sqrt(diag(as.matrix(vcov(fit))))), numbers(b))
}
entries <- c()
for (reml in c(FALSE, TRUE)) for (k in 1:2) {
  formula <- list(Reaction ~ Days + (1 | Subject), Reaction ~ Days + (Days | Subject))[[k]]
  parsed <- related(lFormula(formula, sleep, REML = reml), "Subject", k)
  devfun <- do.call(mkLmerDevfun, parsed)
  opt <- optimizeLmer(devfun, optimizer = "bobyqa", control = list(rhoend = 1e-9))
  fit <- mkMerMod(environment(devfun), opt, parsed$reTrms, fr = parsed$fr)
  ours <- c("Reaction ~ Days + (1 | gr(Subject, cov = A))", "Reaction ~ Days + (Days | gr(Subject, cov = A))")[k]
  L <- t(chol(A(levels(sleep$Subject))))
  entries <- c(entries, entry(paste(k, if (reml) "REML" else "ML"), ours, "gaussian", reml, fit, L, k))
}
parsed <- related(glFormula(cbind(incidence, n - incidence) ~ period + (1 | herd), cbpp, family = binomial), "herd", 1)
devfun <- do.call(mkGlmerDevfun, c(parsed, list(control = glmerControl(tolPwrss = 1e-12))))
opt <- optimizeGlmer(devfun, optimizer = "bobyqa")
devfun <- updateGlmerDevfun(devfun, parsed$reTrms)
opt <- optimizeGlmer(devfun, stage = 2, optimizer = "bobyqa", control = list(rhoend = 1e-8))
fit <- mkMerMod(environment(devfun), opt, parsed$reTrms, fr = parsed$fr)
L <- t(chol(A(levels(cbpp$herd))))
entries <- c(entries, entry("Laplace", "cbind(incidence, size - incidence) ~ period + (1 | gr(herd, cov = A))", "binomial", FALSE, fit, L, 1))
cat("[\n", paste(entries, collapse = ",\n"), "\n]\n", sep = "")
