//! The subset of libbinder_rs that buffersync uses, over rsbinder.
