"""The worker: batches of events in, preference state and fresh recommendations out.

The folders are the flow of data: ``fetch``, ``decode``, ``state``, ``rank``, ``emit``, ``checkpoint``. Beside them
stand what several of them use (``kafka``, ``stores``, ``monitoring``), what follows the catalog and the encoders
(``catalog``, ``versions``), what puts the stages in order (``pipeline``, ``worker``), and what people start
(``commands``, ``console``, ``demo``, ``offline``). May import `schemas` and `encoders`.
"""
