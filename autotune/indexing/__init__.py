"""From a data source to a dataset: every image looked at once, judged, and put on its side.

`looking` decodes and measures, `cache` remembers, `table` holds what is known, `splitting` chooses the sides, `dataset`
puts it all together, `profile` says what it is as a whole, `combining` makes several sets the tasks of one study, and
`near_duplicates` and `resembling` find what looks alike.
"""
