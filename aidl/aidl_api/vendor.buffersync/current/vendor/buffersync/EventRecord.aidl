package vendor.buffersync;
@VintfStability @FixedSize parcelable EventRecord {
  const int FLAG_EVICTED = 0x1;
  const int FLAG_FENCE = 0x2;
  const int FLAG_FENCED = 0x4;
  const int FLAG_TORN = 0x8;
  vendor.buffersync.EventType type = vendor.buffersync.EventType.GRANTED;
  int flags;
  long token;
  long value0;
  long value1;
}
