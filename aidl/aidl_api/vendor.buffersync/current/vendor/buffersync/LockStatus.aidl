package vendor.buffersync;
@VintfStability @Backing(type="int") enum LockStatus {
  GRANTED = 1,
  QUEUED = 2,
}
