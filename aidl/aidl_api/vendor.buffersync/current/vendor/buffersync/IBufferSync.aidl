package vendor.buffersync;
@VintfStability interface IBufferSync {
  const int ERROR_NOT_DMABUF = 1;
  const int ERROR_QUOTA = 2;
  const int ERROR_UNKNOWN_BUFFER = 3;
  const int ERROR_BUSY = 4;
  const int ERROR_EMPTY_GROUP = 5;
  const int ERROR_ALREADY_LOCKED = 6;
  const int ERROR_WOULD_BLOCK = 7;
  const int ERROR_NOT_QUEUED = 8;
  const int ERROR_BAD_TOKEN = 9;
  const int ERROR_EVICTED = 10;
  const int ERROR_CLOSED = 11;
  const int ERROR_BAD_FENCE = 12;
  const int ERROR_EVENTS_UNREAD = 13;
  const int ERROR_ACCESS_CONFLICT = 14;
  const int ERROR_NO_RESOURCES = 15;
  const int ERROR_DEADLOCK = 16;
  const int ERROR_UNSUPPORTED = 17;
  const int MAX_NAME_BYTES = 64;
  vendor.buffersync.Capabilities getCapabilities();
  vendor.buffersync.OpenedGroup openGroup(in @utf8InCpp String name, in vendor.buffersync.GroupOptions options);
}
