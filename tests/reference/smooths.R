# Fits of smooths by mgcv, and of one by lme4 in the way of gamm4: Rscript smooths.R FOLDER writes smooths.csv and
# smooths.json there. The restricted likelihood depends on the unit of what is not penalised: `constant` is what a
# fit has more whose fixed columns are those of `null`.
suppressMessages({library(mgcv); library(lme4)})
folder <- commandArgs(trailingOnly = TRUE)[1]
set.seed(20)
n <- 240
d <- data.frame(x = round(runif(n), 2), z = round(runif(n), 3), w = round(rnorm(n), 3),
                f = sample(c("a", "b", "c"), n, TRUE), g = sample(sprintf("g%02d", 1:12), n, TRUE))
effect <- setNames(rnorm(12, 0, 0.6), sprintf("g%02d", 1:12))
slope <- setNames(rnorm(12), sprintf("g%02d", 1:12))
curve <- with(d, sin(6 * x) + (f == "b") * 2 * x^2 - (f == "c") * exp(-20 * (x - 0.5)^2))
d$y <- round(curve + 2 * d$z^2 * d$w + effect[d$g] + slope[d$g] * (d$x - 0.5) + rnorm(n, 0, 0.5), 4)
d$count <- rpois(n, exp(0.8 + sin(6 * d$x) + effect[d$g] / 2))
write.csv(d, file.path(folder, "smooths.csv"), row.names = FALSE)
d$f <- factor(d$f); d$g <- factor(d$g)
numbers <- function(x) paste0("[", paste(sprintf("%.12g", x), collapse = ", "), "]")
strict <- gam.control(newton = list(conv.tol = 1e-9), epsilon = 1e-12)
entry <- function(id, formula, call, null, family = gaussian, method = "REML") {
  m <- gam(call, data = d, family = family, method = method, control = strict)
  X <- model.matrix(m)
  S <- matrix(0, ncol(X), ncol(X))
  for (s in m$smooth) for (P in s$S) {
    i <- s$first.para:s$last.para
    S[i, i] <- S[i, i] + P / norm(P)
  }
  e <- eigen(S, symmetric = TRUE)
  F <- X %*% e$vectors[, e$values < 1e-9 * max(e$values), drop = FALSE]
  own <- model.matrix(null, d)
  A <- qr.solve(F, own)
  stopifnot(max(abs(F %*% A - own)) < 1e-6)
  p <- predict(m, d[1:6, ], se.fit = TRUE)
  tests <- summary(m)$s.table
  sprintf(paste0('{"id": "%s", "formula": "%s", "family": "%s", "method": "%s", "source": "mgcv %s, R %s", "call": "%s", ',
                 '"score": %.10f, "constant": %.10f, "edf": %s, "ref_df": %s, "statistic": %s, "p_value": %s, "fit": %s, "se": %s, "sigma": %.10g}'),
          id, gsub('"', '\\\\"', formula), m$family$family, method, packageVersion("mgcv"), getRversion(),
          gsub('"', "'", paste(deparse(call, 500), collapse = "")), -m$gcv.ubre, -log(abs(det(A))),
          numbers(tests[, 1]), numbers(tests[, 2]), numbers(tests[, 3]), numbers(tests[, 4]), numbers(p$fit), numbers(p$se.fit),
          sqrt(m$sig2))
}
both <- function(id, formula, call, null)
  c(entry(paste0(id, "-ml"), formula, call, null, method = "ML"), entry(paste0(id, "-reml"), formula, call, null))
# A model of penalised blocks, each a sum of squares with a variance: our definition where mgcv's has an angle in it
# that its eigenvectors of a space without penalty leave open, t2() and bs = "fs".
blocks <- function(id, formula, fixed, parts) {
  names(parts) <- paste0("P", seq_along(parts))
  dd <- c(as.list(d), parts)
  penalties <- lapply(parts, function(P) list(diag(ncol(P))))
  call <- update(fixed, paste("~ . +", paste(names(parts), collapse = " + ")))
  sapply(c("ML", "REML"), function(method) {
    m <- gam(call, data = dd, paraPen = penalties, method = method, control = strict)
    sprintf(paste0('{"id": "%s-%s", "formula": "%s", "family": "gaussian", "method": "%s", "source": "mgcv %s, R %s", "call": "paraPen", ',
                   '"score": %.10f, "constant": 0, "fit": %s, "se": %s, "sigma": %.10g}'),
            id, tolower(method), gsub('"', '\\\\"', formula), method, packageVersion("mgcv"), getRversion(), -m$gcv.ubre,
            numbers(fitted(m)[1:6]), numbers(predict(m, se.fit = TRUE)$se.fit[1:6]), sqrt(m$sig2))
  })
}
unit <- function(x) (x - mean(x)) / sqrt(mean((x - mean(x))^2))
bent <- function(term) {
  s <- smoothCon(term, d, absorb.cons = FALSE, scale.penalty = FALSE)[[1]]
  e <- eigen(s$S[[1]], symmetric = TRUE)
  kept <- seq_len(ncol(s$X) - 2)
  s$X %*% e$vectors[, kept] %*% diag(1 / sqrt(e$values[kept]))
}
rowwise <- function(A, B) t(sapply(seq_len(nrow(A)), function(i) kronecker(A[i, ], B[i, ])))
sized <- function(P) P / sqrt(mean(rowSums(P^2)))
levels_of <- function(P) rowwise(P, model.matrix(~ 0 + g, d))
centred <- function(x) x - mean(x)
# As gamm4 does: the penalised columns as those of the levels of a factor, by lme4's own steps.
counts <- function(id, formula) {
  s <- smoothCon(s(x), d, absorb.cons = TRUE)[[1]]
  r <- smooth2random(s, "", 2)
  fake <- factor(rep(seq_len(ncol(r$rand[[1]])), length.out = n))
  dd <- d; dd$line <- r$Xf[, 1]; dd$fake <- fake
  parts <- glFormula(count ~ line + (1 | fake) + (1 | g), dd, family = poisson)
  k <- which(names(parts$reTrms$cnms) == "fake")
  at <- parts$reTrms$Gp[k] + seq_len(nlevels(fake))
  parts$reTrms$Zt[at, ] <- as(t(r$rand[[1]]), "CsparseMatrix")
  control <- glmerControl(optimizer = "bobyqa", tolPwrss = 1e-11)
  fun <- do.call(mkGlmerDevfun, c(parts, list(control = control)))
  opt <- optimizeGlmer(fun)
  fun <- updateGlmerDevfun(fun, parts$reTrms)
  opt <- optimizeGlmer(fun, stage = 2)
  opt <- optimizeGlmer(fun, stage = 2, control = list(rhoend = 1e-10),
                       start = list(theta = opt$par[1:2], fixef = opt$par[-(1:2)]))
  m <- mkMerMod(environment(fun), opt, parts$reTrms, fr = parts$fr)
  sprintf('{"id": "%s", "formula": "%s", "family": "poisson", "method": "laplace", "source": "lme4 %s, mgcv %s, R %s", "call": "gamm4(count ~ s(x), random = ~ (1 | g), family = poisson) by hand", "logLik": %.10f, "fit": %s}',
          id, formula, packageVersion("lme4"), packageVersion("mgcv"), getRversion(), logLik(m), numbers(log(fitted(m))[1:6]))
}
entries <- c(
  both("tp", "y ~ s(x)", y ~ s(x), ~ centred(x)),
  both("cr", 'y ~ s(x, bs = "cr", k = 8)', y ~ s(x, bs = "cr", k = 8), ~ centred(x)),
  both("cc", 'y ~ s(x, bs = "cc")', y ~ s(x, bs = "cc"), ~ 1),
  both("surface", "y ~ s(x, z, k = 20)", y ~ s(x, z, k = 20), ~ centred(x) + centred(z)),
  both("slope", "y ~ s(x) + s(z, by = w)", y ~ s(x) + s(z, by = w), ~ centred(x) + w + w:centred(z)),
  both("factor", "y ~ f + s(x, by = f)", y ~ f + s(x, by = f), ~ f + f:centred(x)),
  both("effects", 'y ~ s(x, k = 6) + s(g, bs = "re") + s(z, g, bs = "re")',
       y ~ s(x, k = 6) + s(g, bs = "re") + s(z, g, bs = "re"), ~ centred(x)),
  local({
    rx <- bent(s(x, bs = "cr", k = 5)); rz <- bent(s(z, bs = "cr", k = 5))
    nx <- cbind(1, unit(d$x)); nz <- cbind(1, unit(d$z))
    blocks("product", "y ~ t2(x, z)", y ~ centred(x) + centred(z) + I(centred(x) * centred(z)),
           lapply(list(rowwise(rx, rz), rowwise(nx, rz), rowwise(rx, nz)), sized))
  }),
  blocks("levels", 'y ~ s(x, g, bs = "fs", k = 6)', y ~ 1,
         list(levels_of(sized(resid(lm(bent(s(x, k = 6)) ~ d$x)))), levels_of(cbind(rep(1, n))), levels_of(cbind(centred(d$x))))),
  entry("counts-joint-modes", 'count ~ s(x) + s(g, bs = "re")', count ~ s(x) + s(g, bs = "re"), ~ centred(x), poisson, "ML"),
  entry("counts-by", 'count ~ f + s(x, by = f)', count ~ f + s(x, by = f), ~ f + f:centred(x), poisson, "ML"),
  counts("counts-laplace", "count ~ s(x) + (1 | g)"))
cat("[\n", paste(entries, collapse = ",\n"), "\n]\n", sep = "", file = file.path(folder, "smooths.json"))
