"""What a relayed delta, a turn, an open stream and a start cost: `make bench`, `make bench-cold`. See README.md."""
