//! System tests: one binary, one module per part of the whole.

#[cfg(test)]
mod api;
#[cfg(test)]
mod clients;
#[cfg(test)]
mod crash;
#[cfg(test)]
mod dashboard;
#[cfg(test)]
mod demo;
#[cfg(test)]
mod fail_open;
#[cfg(test)]
mod failures;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod kernel;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod namespaces;
#[cfg(test)]
mod paths;
#[cfg(test)]
mod policies;
#[cfg(test)]
mod prometheus;
#[cfg(test)]
mod provider;
#[cfg(test)]
mod reading;
#[cfg(test)]
mod reload;
#[cfg(test)]
mod reliability;
#[cfg(test)]
mod service;
#[cfg(test)]
mod setup;
#[cfg(test)]
mod split;
#[cfg(test)]
mod stage;
#[cfg(test)]
mod telemetry;
#[cfg(test)]
mod tls;
#[cfg(test)]
mod stores;
#[cfg(test)]
mod top;
#[cfg(test)]
mod trust;
#[cfg(test)]
mod upkeep;
#[cfg(test)]
mod webhooks;
mod watch;
#[cfg(test)]
mod websocket;
