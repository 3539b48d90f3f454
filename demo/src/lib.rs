//! A camera, codec and preview pipeline over buffersync.
