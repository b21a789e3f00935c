"""Stage 1, from Kafka to ``RecordBatch``: a Faust transport that hands over whole fetches.

Only this folder imports Faust and aiokafka. May import ``kafka``.
"""
