# The answers of the small simulated problems: lme4's quadrature, tightened. Writes references.json.
#
#   Rscript references.R FOLDER references.json
#
# FOLDER has the data sets of simulated.py as CSV files.

suppressMessages(library(lme4))
arguments <- commandArgs(trailingOnly = TRUE)
tight <- glmerControl(optimizer = "bobyqa", optCtrl = list(rhoend = 1e-9), tolPwrss = 1e-12)
lines <- c()
for (path in sort(list.files(arguments[1], "[.]csv$", full.names = TRUE))) {
  name <- sub("[.]csv$", "", basename(path))
  data <- read.csv(path)
  data$g <- factor(data$g)
  family <- if (startsWith(name, "bernoulli")) binomial else poisson
  # Of many rows a group the approximation is the likelihood to more digits than are compared.
  nodes <- if (nrow(data) > 1e5) 1L else 25L
  found <- glmer(y ~ x + (1 | g), data, family = family(), nAGQ = nodes, control = tight)
  lines <- c(lines, sprintf('  "%s": {"source": "lme4 %s, glmer(y ~ x + (1 | g), nAGQ = %d)", "sd": %.8f}',
                            name, packageVersion("lme4"), nodes, sqrt(VarCorr(found)$g[1])))
}
writeLines(c("{", paste(lines, collapse = ",\n"), "}"), arguments[2])
