//! The IBufferSync HAL service.
