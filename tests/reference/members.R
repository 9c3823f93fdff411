# Rows that have several levels of one factor, for members.json, by lme4's modular functions with the sum of the members'
# indicators, times their weights, in place of Z': Rscript members.R members.csv > members.json
suppressMessages(library(lme4))
data <- read.csv(commandArgs(trailingOnly = TRUE)[1])
levels <- sort(unique(c(data$s1, data$s2)))
w <- as.matrix(data[c("w1", "w2")])
shares <- list(half = matrix(.5, nrow(data), 2), scaled = w / rowSums(w), raw = w)
members <- function(parsed, shares, k) {
  columns <- if (k == 1) list(rep(1, nrow(data))) else list(rep(1, nrow(data)), data$x)
  rows <- list()
  for (j in seq_len(k)) {
    Z <- matrix(0, nrow(data), length(levels))
    for (m in 1:2) {
      at <- cbind(seq_len(nrow(data)), match(data[[paste0("s", m)]], levels))
      Z[at] <- Z[at] + shares[, m] * columns[[j]]
    }
    rows[[j]] <- t(Z)
  }
  # Level by level, as lme4 has them.
  Zt <- do.call(rbind, rows)[as.vector(t(matrix(seq_len(k * length(levels)), ncol = k))), , drop = FALSE]
  parsed$reTrms$Zt <- Matrix(Zt, sparse = TRUE)
  parsed
}
# A factor that has the levels of both columns stands for them where lme4 counts levels.
data$g <- factor(rep_len(levels, nrow(data)), levels = levels)
numbers <- function(x) paste0("[", paste(sprintf("%.12g", x), collapse = ", "), "]")
sds <- function(fit) { v <- VarCorr(fit)[[1]]; c(attr(v, "stddev"), attr(v, "correlation")[lower.tri(v)]) }
group <- c(half = "mm(s1, s2)", scaled = "mm(s1, s2, weights = cbind(w1, w2))", raw = "mm(s1, s2, weights = cbind(w1, w2), scale = FALSE)")
entry <- function(formula, family, reml, fit)
  sprintf(paste0('{"id": "%s%s", "formula": "%s", "family": "%s", "source": "lme4 %s, R %s", "reml": %s, "logLik": %.10f, ',
                 '"sd": %s, "fixed": %s, "stderr": %s, "modes": %s}'),
          formula, if (reml) " REML" else "", formula, family, packageVersion("lme4"), getRversion(), tolower(reml), as.numeric(logLik(fit)), numbers(sds(fit)),
          numbers(fixef(fit)), numbers(sqrt(diag(as.matrix(vcov(fit))))), numbers(as.vector(getME(fit, "b"))))
entries <- c()
for (case in list(list("half", 1, FALSE), list("scaled", 2, FALSE), list("scaled", 2, TRUE), list("raw", 1, FALSE))) {
  k <- case[[2]]
  parsed <- members(lFormula(list(y ~ x + (1 | g), y ~ x + (x | g))[[k]], data, REML = case[[3]]), shares[[case[[1]]]], k)
  devfun <- do.call(mkLmerDevfun, parsed)
  opt <- optimizeLmer(devfun, optimizer = "bobyqa", control = list(rhoend = 1e-9))
  fit <- mkMerMod(environment(devfun), opt, parsed$reTrms, fr = parsed$fr)
  entries <- c(entries, entry(sprintf("y ~ x + (%s | %s)", c("1", "x")[k], group[case[[1]]]), "gaussian", case[[3]], fit))
}
parsed <- members(glFormula(yes ~ x + (1 | g), data, family = binomial), shares$scaled, 1)
devfun <- do.call(mkGlmerDevfun, c(parsed, list(control = glmerControl(tolPwrss = 1e-12))))
opt <- optimizeGlmer(devfun, optimizer = "bobyqa")
devfun <- updateGlmerDevfun(devfun, parsed$reTrms)
opt <- optimizeGlmer(devfun, stage = 2, optimizer = "bobyqa", control = list(rhoend = 1e-8))
fit <- mkMerMod(environment(devfun), opt, parsed$reTrms, fr = parsed$fr)
entries <- c(entries, entry(sprintf("yes ~ x + (1 | %s)", group["scaled"]), "bernoulli", FALSE, fit))
cat("[\n", paste(entries, collapse = ",\n"), "\n]\n", sep = "")
