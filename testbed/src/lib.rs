//! Boots a real kernel with binder and dma-buf heaps and runs commands in it.
