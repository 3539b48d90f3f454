//! What runs inside the testbed: brings up the service stack, allocates real dma-bufs.
