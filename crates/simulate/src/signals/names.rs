//! What the services of a mesh are called, where they run, who they prove to be, and which routes they offer.

use selvedge_model::{EdgeKey, Node, Symbol, SymbolTable};

use crate::config::MeshConfig;
use crate::draw::{Draw, Purpose};
use crate::topology::Protocol;
use crate::words::words;

pub(crate) const TRUST_DOMAIN: &str = "mesh.test";
const SERVICES_A_NAMESPACE: usize = 12;
/// A service offers so many routes.
const ROUTES: (usize, usize) = (2, 10);
/// Some of them stay unused until a deployment, or an attacker, asks for them.
pub(crate) const UNUSED_ROUTES: usize = 3;
/// This share of the calls asks for routes that deployments brought.
const ADDED: f64 = 0.1;
const METHODS: [&str; 6] = ["GET", "GET", "GET", "POST", "PUT", "DELETE"];

/// One route, as a service of either protocol names it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Route {
    method: Symbol,
    path: Symbol,
    rpc: Symbol,
}

/// Symbols of a mesh.
#[derive(Clone)]
pub(crate) struct Names {
    pub(crate) table: SymbolTable,
    pub(crate) nodes: Vec<Node>,
    pub(crate) principals: Vec<Symbol>,
    /// By service. The last [`UNUSED_ROUTES`] of each are not used at first.
    pub(crate) routes: Vec<Vec<Route>>,
    pub(crate) tls: Symbol,
    pub(crate) cipher: Symbol,
    http: Symbol,
    grpc: Symbol,
    post: Symbol,
    issuer: Symbol,
}

impl Names {
    pub(crate) fn new(config: &MeshConfig, services: &[String], bytes_max: usize) -> Self {
        let mut draw = Draw::new(config.seed, Purpose::Routes, u64::MAX);
        let mut table = SymbolTable::new(bytes_max);
        let spaces = words(&mut draw, services.len().div_ceil(SERVICES_A_NAMESPACE).max(1));
        let cluster = table.intern(&words(&mut draw, 1).concat());
        let mut names = Self {
            nodes: Vec::new(),
            principals: Vec::new(),
            routes: Vec::new(),
            tls: table.intern("TLSv1.3"),
            cipher: table.intern("TLS_AES_256_GCM_SHA384"),
            http: table.intern("HTTP/1.1"),
            grpc: table.intern("HTTP/2"),
            post: table.intern("POST"),
            issuer: table.intern(&format!("O={TRUST_DOMAIN}")),
            table,
        };
        for service in services {
            let space = &spaces[draw.below(spaces.len())];
            let namespace = names.table.intern(space);
            let workload = names.table.intern(service);
            names.nodes.push(Node { cluster, namespace, workload });
            let principal = format!("spiffe://{TRUST_DOMAIN}/ns/{space}/sa/{service}");
            names.principals.push(names.table.intern(&principal));
            let routes = names.offer(&mut draw, service);
            names.routes.push(routes);
        }
        names
    }

    fn offer(&mut self, draw: &mut Draw, service: &str) -> Vec<Route> {
        let count = ROUTES.0 + draw.below(ROUTES.1 - ROUTES.0 + 1) + UNUSED_ROUTES;
        let mut routes = Vec::with_capacity(count);
        for word in words(draw, count) {
            let path = if draw.chance(0.5) { format!("/{word}/{{id}}") } else { format!("/{word}") };
            routes.push(Route {
                method: self.table.intern(METHODS[draw.below(METHODS.len())]),
                path: self.table.intern(&path),
                rpc: self.table.intern(&format!("/{service}.v1/{word}")),
            });
        }
        routes
    }

    /// The key of the edge between two services.
    pub(crate) fn edge(&self, caller: usize, callee: usize) -> EdgeKey {
        EdgeKey { source: self.nodes[caller], destination: self.nodes[callee], external: false }
    }

    /// A host outside the mesh.
    pub(crate) fn outside(&mut self, host: &str) -> Node {
        Node { cluster: Symbol::NONE, namespace: Symbol::NONE, workload: self.table.intern(host) }
    }

    /// Method, route and protocol of a request.
    pub(crate) fn request(
        &self,
        service: usize,
        route: usize,
        protocol: Protocol,
    ) -> (Symbol, Symbol, Symbol) {
        let route = self.routes[service][route];
        match protocol {
            Protocol::Http => (route.method, route.path, self.http),
            Protocol::Grpc => (self.post, route.rpc, self.grpc),
        }
    }

    /// Issuer of all certificates of the mesh.
    pub(crate) fn issuer(&self) -> Symbol {
        self.issuer
    }

    /// How many routes of a service are used from the start.
    pub(crate) fn used_routes(&self, service: usize) -> usize {
        self.routes[service].len() - UNUSED_ROUTES
    }
}

/// Which routes an edge asks for, and which routes of its caller make it call.
#[derive(Clone, Debug)]
pub(crate) struct Habit {
    pub(crate) caller: usize,
    pub(crate) callee: usize,
    pub(crate) protocol: Protocol,
    /// Routes of the callee, the most frequent first.
    pub(crate) routes: Vec<usize>,
    /// Routes of the caller: one or two.
    pub(crate) triggers: Vec<usize>,
    /// One more, of which few calls come: a branch that is hardly ever taken.
    pub(crate) rare_trigger: usize,
    /// Routes that deployments brought.
    pub(crate) added: Vec<usize>,
}

impl Habit {
    pub(crate) fn drawn(
        draw: &mut Draw,
        names: &Names,
        (caller, callee): (usize, usize),
        protocol: Protocol,
    ) -> Self {
        let offered = names.used_routes(callee);
        let first = draw.below(offered);
        let count = 1 + draw.below(offered.min(4));
        let own = names.used_routes(caller);
        let triggers = (0..=draw.below(2)).map(|_| draw.below(own)).collect();
        Self {
            caller,
            callee,
            protocol,
            routes: (0..count).map(|n| (first + n) % offered).collect(),
            triggers,
            rare_trigger: draw.below(own),
            added: Vec::new(),
        }
    }

    /// True when calls come of a route of the caller.
    pub(crate) fn comes_of(&self, route: usize) -> bool {
        self.rare_trigger == route || self.triggers.contains(&route)
    }

    /// The route of a call: given by the caller's own route, which is how services work; of a call that nobody asked
    /// for, each route is half as frequent as the one before. New versions mix their routes in.
    pub(crate) fn route(&self, asked: Option<usize>, draw: &mut Draw) -> usize {
        if !self.added.is_empty() && draw.chance(ADDED) {
            return self.added[draw.below(self.added.len())];
        }
        let last = self.routes.len() - 1;
        let place = match asked {
            Some(route) => route % self.routes.len(),
            None => (draw.bits().leading_zeros() as usize).min(last),
        };
        self.routes[place]
    }
}
