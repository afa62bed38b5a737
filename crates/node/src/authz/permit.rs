//! Proof that a caller may do one thing to one resource of one tenant.
//!
//! What this buys, and no more: a read without permit, with the permit of another action, or of another
//! tenant does not compile. That the *matching* of scopes is right is held by the property tests of
//! `adyton_protocol::scope`.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use adyton_keys::context_session::{ContextSession, InvalidSession};
use adyton_protocol::database::DatabaseName;
use adyton_protocol::schema::SchemaUri;
use adyton_protocol::scope::{Action, ApiScope, Resource, Scope, Terms};

use crate::authn::{Authority, Principal, TenantId};
use crate::grants::{App, GrantLife};
use crate::memory::View;
use uuid::Uuid;

mod sealed {
    pub trait Sealed {}
}

/// The actions that a permit can be for. The set is closed.
pub trait PermitAction: sealed::Sealed {
    /// The action that a scope must allow.
    const ACTION: Action;
}

/// Reading records.
#[derive(Debug)]
pub enum Read {}
/// Creating and changing records.
#[derive(Debug)]
pub enum Write {}
/// Deleting records.
#[derive(Debug)]
pub enum Delete {}
/// Finding out what the names of a user's own schemas mean. Shows nobody a record: nothing that does takes such a permit.
#[derive(Debug)]
pub enum Resolve {}

impl sealed::Sealed for Read {}
impl sealed::Sealed for Write {}
impl sealed::Sealed for Delete {}
impl sealed::Sealed for Resolve {}
impl PermitAction for Read {
    const ACTION: Action = Action::Read;
}
impl PermitAction for Write {
    const ACTION: Action = Action::Write;
}
impl PermitAction for Delete {
    const ACTION: Action = Action::Delete;
}
impl PermitAction for Resolve {
    const ACTION: Action = Action::Read;
}

/// The caller may not do this.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Denied {
    /// A capability of the API was not granted.
    #[error("the access token lacks the scope api:{}", .0.name())]
    Api(ApiScope),
    /// The data was not granted for this action.
    #[error("the access token does not allow this action on this data")]
    Data,
    /// Only the owner may do this.
    #[error("only the owner may do this, with a context session")]
    OwnerOnly,
}

/// Proof that this caller may do `A` to this resource of this tenant.
///
/// Not `Clone`, no public constructor: it comes from [`Principal::permit`] alone.
///
/// ```compile_fail,E0308
/// use adyton_node::authz::{Permit, Read, Write};
/// fn reads(_: &Permit<Read>) {}
/// fn misuse(permit: &Permit<Write>) { reads(permit); }
/// ```
/// ```compile_fail,E0451
/// use adyton_node::authz::{Permit, Read};
/// fn forge(tenant: adyton_node::authn::TenantId, resource: adyton_protocol::scope::Resource) -> Permit<Read> {
///     Permit { tenant, resource, view: todo!(), principal: todo!(), _action: std::marker::PhantomData }
/// }
/// ```
/// ```compile_fail,E0599
/// use adyton_node::authz::{Permit, Read};
/// fn keep(permit: Permit<Read>) -> (Permit<Read>, Permit<Read>) { (permit.clone(), permit) }
/// ```
/// ```compile_fail,E0277
/// struct Everything;
/// impl adyton_node::authz::PermitAction for Everything {
///     const ACTION: adyton_protocol::scope::Action = adyton_protocol::scope::Action::Read;
/// }
/// ```
#[must_use]
pub struct Permit<A: PermitAction> {
    tenant: TenantId,
    resource: Resource,
    view: View,
    principal: Arc<Principal>,
    _action: PhantomData<A>,
}

impl<A: PermitAction> Permit<A> {
    /// Whose data.
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// Which data.
    pub fn resource(&self) -> &Resource {
        &self.resource
    }

    /// The grant that it rests on, and the app as its owner knows it; none when the owner acts.
    pub(crate) fn app(&self) -> Option<(Uuid, Option<&str>)> {
        match self.principal.authority() {
            Authority::Owner(_) => None,
            Authority::App(grant) => Some((
                grant.id(),
                match grant.app() {
                    App::Nobody => None,
                    App::Named(did) => Some(did.as_given()),
                    App::Client(client) => Some(client.id().as_str()),
                },
            )),
        }
    }

    /// How long the grant lives that it rests on; none when the owner acts.
    pub(crate) fn life(&self) -> Option<GrantLife> {
        match self.principal.authority() {
            Authority::Owner(_) => None,
            Authority::App(grant) => Some(grant.life()),
        }
    }

    /// Whether the caller is the owner, who may know everything about the data.
    pub(crate) fn is_owner(&self) -> bool {
        matches!(self.principal.authority(), Authority::Owner(_))
    }

    /// What of it the caller may see. For changing and deleting: which records there are to change or delete.
    pub fn view(&self) -> &View {
        &self.view
    }

    /// The session with which the data can be loaded.
    pub(crate) fn session(&self) -> Result<Arc<ContextSession>, InvalidSession> {
        self.principal.session()
    }
}

impl<A: PermitAction> fmt::Debug for Permit<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Permit({:?})", A::ACTION)
    }
}

/// Proof that the caller is the owner of the tenant.
#[derive(Debug)]
#[must_use]
pub struct Owner<'p> {
    session: &'p ContextSession,
    tenant: &'p TenantId,
}

impl Owner<'_> {
    /// The owner's session.
    pub fn session(&self) -> &ContextSession {
        self.session
    }

    /// Whose data.
    pub fn tenant(&self) -> &TenantId {
        self.tenant
    }
}

impl Principal {
    /// The permit for an action on a resource, through a route that needs the capability `api`.
    pub fn permit<A: PermitAction>(
        self: &Arc<Self>,
        api: ApiScope,
        resource: Resource,
    ) -> Result<Permit<A>, Denied> {
        let view = match self.authority() {
            Authority::Owner(_) => all_of(&resource),
            Authority::App(grant) => {
                if !grant.terms().scopes().allows_api(api) {
                    return Err(Denied::Api(api));
                }
                view_under(grant.terms(), A::ACTION, &resource)?
            }
        };
        Ok(self.permit_to_see(resource, view))
    }

    /// The permit with which the owner sees what an app with these terms would see, and no more.
    pub fn preview(
        self: &Arc<Self>,
        terms: &Terms,
        resource: Resource,
    ) -> Result<Permit<Read>, Denied> {
        let _ = self.as_owner()?;
        let view = view_under(terms, Action::Read, &resource)?;
        Ok(self.permit_to_see(resource, view))
    }

    /// The permit with which the node finds out what the user's own schemas are, also for an app of that user.
    pub(crate) fn to_resolve(self: &Arc<Self>) -> Permit<Resolve> {
        let resource = Resource::whole_database(DatabaseName::own_schemas());
        self.permit_to_see(resource, View::whole_database())
    }

    /// Whether the caller may learn that the user has a schema of this name, before it is looked up: who was granted nothing that
    /// could be in it may not.
    pub(crate) fn may_know(&self, schema: &SchemaUri) -> bool {
        match self.authority() {
            Authority::Owner(_) => true,
            Authority::App(grant) => grant.scopes().iter().any(|scope| match scope {
                Scope::Api(_) => false,
                Scope::Datastore {
                    schema: granted, ..
                } => granted == schema,
                Scope::Database { .. } => true,
            }),
        }
    }

    /// Whether the caller may do anything at all with these records.
    pub(crate) fn knows(&self, resource: &Resource) -> bool {
        match self.authority() {
            Authority::Owner(_) => true,
            Authority::App(grant) => Action::ALL
                .into_iter()
                .any(|action| grant.terms().covers(action, resource).is_some()),
        }
    }

    fn permit_to_see<A: PermitAction>(
        self: &Arc<Self>,
        resource: Resource,
        view: View,
    ) -> Permit<A> {
        Permit {
            tenant: self.tenant().clone(),
            resource,
            view,
            principal: Arc::clone(self),
            _action: PhantomData,
        }
    }

    /// The proof that the caller is the owner.
    pub fn as_owner(&self) -> Result<Owner<'_>, Denied> {
        match self.authority() {
            Authority::Owner(session) => Ok(Owner {
                session,
                tenant: self.tenant(),
            }),
            Authority::App(_) => Err(Denied::OwnerOnly),
        }
    }
}

fn all_of(resource: &Resource) -> View {
    match resource.schema() {
        Some(schema) => View::of_schema(schema.as_str()),
        None => View::whole_database(),
    }
}

/// What terms let an app see of a resource: the one place that says so, for requests and for previews.
fn view_under(terms: &Terms, action: Action, resource: &Resource) -> Result<View, Denied> {
    let covered = terms.covers(action, resource).ok_or(Denied::Data)?;
    Ok(all_of(resource).narrowed(covered.narrowing))
}
