"""Everything about the gateway in one run.  Run: python -m perf.gateway [--json] [--record]"""

import sys

from perf import bench_gateway, bench_gateway_cache

if __name__ == "__main__":
    bench_gateway.main(sys.argv[1:])
    bench_gateway_cache.main(sys.argv[1:])
