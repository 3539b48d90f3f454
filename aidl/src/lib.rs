//! Generated bindings of the vendor.buffersync AIDL interface.
