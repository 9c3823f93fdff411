"""Rows that stay with the workers of a cluster: here two of this process, elsewhere machines of any number."""

from dask import dataframe
from distributed import Client, LocalCluster

import lmeformula as lf

ratings = lf.datasets.load("insteval").head(2000)
formula = "ratings ~ service + (1 | students) + (1 | instructors)"

if __name__ == "__main__":
    with (
        LocalCluster(n_workers=2, processes=False, dashboard_address=":0") as cluster,
        Client(cluster) as client,
    ):
        # Each partition is read where it is; the frame could be one of many files.
        fit = lf.fit(formula, dataframe.from_pandas(ratings, npartitions=4))
        print(fit)
        print(fit.diagnostics)
        # Any table may be sent there, too.
        again = lf.fit(formula, ratings, cluster=client)
    print(f"in one process {float(lf.fit(formula, ratings, solver='iterative').loglik):.6f},")
    print(f"over workers   {float(fit.loglik):.6f} and {float(again.loglik):.6f}")
