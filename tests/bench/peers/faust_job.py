"""The job on stock Faust: python faust_job.py JOB.json"""

import asyncio
import tempfile

import faust
from recommender import Recommender, read_job

job = read_job()
recommender = Recommender(job)
app = faust.App(
    job["group"],
    broker=f"kafka://{job['bootstrap']}",
    store="memory://",
    web_enabled=False,
    topic_disable_leader=True,
    topic_allow_declare=False,
    consumer_auto_offset_reset="earliest",
    producer_linger=0.005,
    datadir=tempfile.mkdtemp(),
)
events = app.topic(*job["topics"], key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw")
output = app.topic(job["output"], value_type=bytes, value_serializer="raw", key_serializer="raw")


@app.agent(events)
async def recommend(stream):
    """An event in, a message out."""
    async for event in stream.events():
        user, message = recommender.handle(event.message.topic, event.value)
        await output.send(key=user.encode(), value=message)
        if recommender.done():
            await app.producer.flush()
            recommender.finish()


async def main():
    """Until all events have come."""
    app.finalize()
    await app.start()
    await asyncio.Event().wait()


asyncio.run(main())
