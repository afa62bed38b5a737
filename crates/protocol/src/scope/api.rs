//! The capabilities of the API that a scope can name.

/// A capability of the API. The names are those of the original (`spec/user-data-api.md` §2.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs, reason = "each variant is described by `description`")]
pub enum ApiScope {
    DbGetById,
    DbCreate,
    DbUpdate,
    DbQuery,
    DsGetById,
    DsCreate,
    DsUpdate,
    DsQuery,
    DsDelete,
    LlmPrompt,
    LlmAgentPrompt,
    LlmProfilePrompt,
    SearchChatThreads,
    SearchDs,
    SearchUniversal,
    ConnectionsProfiles,
    ConnectionsStatus,
    AppDeveloper,
}

impl ApiScope {
    /// All of them, in the order of the original.
    pub const ALL: [Self; 18] = [
        Self::DbGetById,
        Self::DbCreate,
        Self::DbUpdate,
        Self::DbQuery,
        Self::DsGetById,
        Self::DsCreate,
        Self::DsUpdate,
        Self::DsQuery,
        Self::DsDelete,
        Self::LlmPrompt,
        Self::LlmAgentPrompt,
        Self::LlmProfilePrompt,
        Self::SearchChatThreads,
        Self::SearchDs,
        Self::SearchUniversal,
        Self::ConnectionsProfiles,
        Self::ConnectionsStatus,
        Self::AppDeveloper,
    ];

    /// The name after `api:`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::DbGetById => "db-get-by-id",
            Self::DbCreate => "db-create",
            Self::DbUpdate => "db-update",
            Self::DbQuery => "db-query",
            Self::DsGetById => "ds-get-by-id",
            Self::DsCreate => "ds-create",
            Self::DsUpdate => "ds-update",
            Self::DsQuery => "ds-query",
            Self::DsDelete => "ds-delete",
            Self::LlmPrompt => "llm-prompt",
            Self::LlmAgentPrompt => "llm-agent-prompt",
            Self::LlmProfilePrompt => "llm-profile-prompt",
            Self::SearchChatThreads => "search-chat-threads",
            Self::SearchDs => "search-ds",
            Self::SearchUniversal => "search-universal",
            Self::ConnectionsProfiles => "connections-profiles",
            Self::ConnectionsStatus => "connections-status",
            Self::AppDeveloper => "app-developer",
        }
    }

    /// What a person should read before granting it.
    pub const fn description(self) -> &'static str {
        match self {
            Self::DbGetById => "Fetch a record of a database by its id",
            Self::DbCreate => "Create a record in a database",
            Self::DbUpdate => "Change a record of a database",
            Self::DbQuery => "Query and count the records of a database",
            Self::DsGetById => "Fetch a record of a datastore by its id",
            Self::DsCreate => "Create a record in a datastore",
            Self::DsUpdate => "Change a record of a datastore",
            Self::DsQuery => "Query and count the records of a datastore",
            Self::DsDelete => "Delete records of a datastore",
            Self::LlmPrompt => "Run a prompt on a language model",
            Self::LlmAgentPrompt => "Let a language model answer from your data",
            Self::LlmProfilePrompt => "Let a language model build a profile from your data",
            Self::SearchChatThreads => "Search your chat threads",
            Self::SearchDs => "Search a datastore by keyword",
            Self::SearchUniversal => "Search all your data by keyword",
            Self::ConnectionsProfiles => "See the profiles of your connected accounts",
            Self::ConnectionsStatus => "See the state of your connected accounts",
            Self::AppDeveloper => "Manage a developer account",
        }
    }

    /// The capability with this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.name() == name)
    }
}
