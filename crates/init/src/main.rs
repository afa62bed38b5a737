#![doc = include_str!("../README.md")]
#![deny(unsafe_code)]

mod boot;
mod kernel;
mod notices;
mod nsm;

use std::process::ExitCode;

use crate::boot::Machine;
use crate::notices::Notices;

fn main() -> ExitCode {
    let mut notices = Notices::to_console();
    let refusal = match Machine::started_by_the_kernel() {
        Ok(machine) => become_node(machine, &mut notices),
        Err(refusal) => refusal,
    };
    // Only failures come back. PID 1 ends with this, and the enclave with it.
    notices.last(&format!("boot refused: {refusal}"));
    ExitCode::FAILURE
}

fn become_node(machine: Machine, notices: &mut Notices) -> boot::Refusal {
    let steps = || {
        let mounted = machine.mount()?;
        let reached = mounted.reach_host()?;
        notices.reach(reached.host());
        notices.say("boot: the host answers");
        let seeded = reached.seed()?;
        notices.say("boot: randomness of the module is in the kernel");
        let configured = seeded.configure()?;
        notices.say("boot: the configuration is here");
        let closed = configured.close()?;
        notices.say("boot: the machine is closed; the node starts");
        closed.become_node()
    };
    match steps() {
        Ok(never) => match never {},
        Err(refusal) => refusal,
    }
}
