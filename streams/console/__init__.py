"""The live page: it sends what a person does to the event topics, and shows the lists that come on `recommendations`.

It uses topics only: no store, no encoder and no worker. It may import ``schemas`` and, of ``streams``, the Kafka
clients, the settings, the topic names and the display texts.
"""
