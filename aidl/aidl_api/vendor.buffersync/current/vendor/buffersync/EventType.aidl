package vendor.buffersync;
@VintfStability @Backing(type="int") enum EventType {
  GRANTED = 1,
  BUFFER = 2,
  LOCK_FAILED = 3,
  EVICTED = 4,
  WOUNDED = 5,
  TIMED_OUT = 6,
}
