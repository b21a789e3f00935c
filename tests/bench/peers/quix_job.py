"""The job on Quix Streams: python quix_job.py JOB.json"""

import tempfile

from quixstreams import Application
from recommender import Recommender, read_job

job = read_job()
recommender = Recommender(job)
app = Application(
    broker_address=job["bootstrap"],
    consumer_group=job["group"],
    auto_offset_reset="earliest",
    auto_create_topics=False,
    use_changelog_topics=False,
    state_dir=tempfile.mkdtemp(),
    loglevel="WARNING",
)
producer = app.get_producer()


def recommend(value, key, timestamp, headers, topic):
    """An event in, a message out."""
    user, message = recommender.handle(topic, value)
    producer.produce(topic=job["output"], key=user, value=message)
    if recommender.done():
        producer.flush()
        recommender.finish()


with producer:
    for name in job["topics"]:
        topic = app.topic(name, key_deserializer="bytes", value_deserializer="bytes")

        def of_topic(value, key, timestamp, headers, topic=name):
            """The callback does not say which topic an event is of."""
            recommend(value, key, timestamp, headers, topic)

        app.dataframe(topic).update(of_topic, metadata=True)
    app.run()
