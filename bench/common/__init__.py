"""What the benchmarks share: the contenders, the measuring, the telling."""
