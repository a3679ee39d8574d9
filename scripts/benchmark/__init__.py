"""The parts of ``scripts/bench``: the servers, the queries, the processes, the measurement, the report."""
