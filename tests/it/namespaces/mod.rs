//! Containers: processes in network namespaces of their own, beside the agent's.

mod container;
mod observe;
mod meter;
mod reach;
mod life;
