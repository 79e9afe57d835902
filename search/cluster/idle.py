"""A process that only waits until its parent has ended; a script of its own, which imports nothing
that takes time.
"""

import os
import time

parent = os.getppid()
while os.getppid() == parent:
    time.sleep(1)
