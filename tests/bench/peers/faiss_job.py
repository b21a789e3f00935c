"""FAISS's IVF,Flat on the users and items of the bench: python faiss_job.py JOB.json

It prints a line about the index that it built, and then, for each line that it reads, what ranking all users cost.
"""

import json
import sys
import time

import faiss
import numpy as np
from faiss_lists import recall_of, smallest, without_excluded

with open(sys.argv[1], "rb") as file:
    job = json.load(file)
arrays = np.load(job["arrays"])
items, users, excluded, best = (arrays[name] for name in ("items", "users", "excluded", "best"))
faiss.omp_set_num_threads(1)

start = time.process_time()
index = faiss.index_factory(items.shape[1], f"IVF{job['clusters']},Flat", faiss.METRIC_INNER_PRODUCT)
sample = np.random.default_rng(0).permutation(len(items))[: job["trained_on"] * job["clusters"]]
index.train(items[sample])
index.add(items)
build_s = time.process_time() - start


def lists_of(count):
    """The lists of the first users: as many more items are asked for as are left out."""
    found = index.search(users[:count], job["k"] + excluded.shape[1])[1]
    return without_excluded(found, excluded[:count], job["k"])


def recall():
    """Of the users whose exact best items are known."""
    return recall_of(lists_of(len(best)), best)


def is_enough(probes):
    """Whether so many inverted lists give the recall that is asked for."""
    index.nprobe = probes
    return recall() >= job["recall"]


index.nprobe = smallest(is_enough, job["clusters"])
print(json.dumps({"recall": recall(), "probes": index.nprobe, "build_s": build_s}), flush=True)
for _ in sys.stdin:
    start = time.process_time()
    lists_of(len(users))
    print(json.dumps((time.process_time() - start) / len(users) * 1e6), flush=True)
