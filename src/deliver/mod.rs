//! Alerts to people: one file a notifier.
