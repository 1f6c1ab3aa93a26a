//! Real foreign programs against the real service.
