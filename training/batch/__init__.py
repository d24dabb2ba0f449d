"""Scoring of whole tables: `homeostat predict`.

`inputs` lists files and cuts them into units of work, `columns` makes a block of rows into a matrix and names the rows that
do not fit, `scoring` answers a block, `outputs` keeps parts and what is done, `job` puts them together. None of them knows Ray:
`pool` is the shell that spreads units over workers.
"""
