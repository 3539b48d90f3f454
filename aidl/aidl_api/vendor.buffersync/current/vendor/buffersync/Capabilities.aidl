package vendor.buffersync;
@VintfStability parcelable Capabilities {
  const long FEATURE_RELEASE_FENCE = 0x1;
  const long FEATURE_IMPLICIT_FENCES = 0x2;
  long features;
  int defaultHoldMs;
  int maxHoldMs;
  int maxGroupsPerUid;
  int maxBuffersPerGroup;
  int maxBuffersPerUid;
  int maxQueuedPerUid;
  int maxFencesPerUid;
  int maxFencesPerGroup;
  int maxFdsPerHandle;
}
