"""The past, computed once more: every job of a stretch of time gets a further run, beside what was found before.

when.py        a time, as people write one
asking.py      what a replay is asked for, and whether that is what its name stands for already
candidates.py  the jobs that are meant, from the record or from the topic
survey.py      looks at them one after the other
wanted.py      the run that each is to get
publisher.py   asks for these runs, resumably and not faster than they are computed
pace.py        how fast that is
retrying.py    a broker or a store that is away for a moment
standing.py    how many of them stand how
stopping.py    the end of it all
terminal.py    what the command line shows of it

docs/decisions/0019-replay.md says why.
"""
