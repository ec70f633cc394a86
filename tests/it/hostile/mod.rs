//! Clients, providers and ways in between that behave as none should: each listener is told
//! nonsense, slowly and in masses, and the agent stays small, awake and there for the others.

mod certificates;
mod floods;
mod fronting;
mod hello;
mod listeners;
mod proxies;
mod raw;
mod smuggling;
mod vitals;
