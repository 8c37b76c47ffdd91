"""Triton kernels of the fused ensemble, each beside its plain reference.

Rows of a batch are sorted so that a symbol's events form one *run*, in order. Three int32 arrays
[rows] tell the kernels about runs: ``slot`` (the symbol's slot; -1 for padding), ``turn`` (how many
events of the run came before) and ``count`` (the run's length at its first row, 0 elsewhere and for
padding). Kernels that keep state have one program for each row and state tile; programs of rows
whose count is 0 leave at once, the others loop over their run with the tile in registers, so that
state is read and written once however many events a symbol has.

Every kernel runs on the CPU under ``TRITON_INTERPRET=1``.
"""
