// The app. azd deploys this file (not main.bicep) at `azd deploy`, when the image is in the registry: each deployment is
// one revision with its own image, settings, port and probes. Parameters are strings, as azd hands them over;
// an empty setting is left out, so that the service's own default holds (gateway/settings.py).
targetScope = 'resourceGroup'

param location string = resourceGroup().location
param environmentName string
param appName string
param image string

@description('true if the app was there before this deployment: infra/hooks/check_deployment.py')
param appExists string = 'false'
param registryEndpoint string
param containerAppsEnvironmentName string
param identityName string
param identityClientId string
param insightsName string

@description('Which agent answers')
param projectEndpoint string = ''
param agentId string = ''
param openAiEndpoint string = ''
param openAiDeploymentName string = ''

@description('Who may call from a browser, how much, how long: the settings of README, under the same names')
param allowedOrigins string = ''
param maxStreams string = '200'
param maxStreamsPerCaller string = ''
param maxMessageChars string = ''
param maxBodyBytes string = ''
param upstreamIdleTimeoutS string = ''
param answerDeadlineS string = ''
param sendTimeoutS string = ''
param pingS string = ''
param conversationPoolSize string = ''
param conversationStock string = ''
param chatPage string = ''
param otelInstrumentationGenaiCaptureMessageContent string = ''
param logLevel string = ''
param logFormat string = ''

@description('Who may talk, and how often: docs/security.md')
param auth string = ''
param authTenantId string = ''
param authAudience string = ''
param authScope string = ''
param authRole string = ''
param rateLimit string = ''
param trustedHops string = ''
param docs string = ''
param publicPages string = ''

@secure()
param conversationKeys string = ''

@secure()
param apiKeys string = ''

@secure()
param rateLimitStorageUri string = ''

@description('AUTH=easyauth: the app registration with which Container Apps signs people in')
param easyAuthClientId string = ''

@description('Address ranges that may connect, comma-separated; empty: all')
param allowedIps string = ''

@description('Whole seconds that open answers may take when a replica ends')
param drainS string = '25'

@description('0: nothing runs, and costs, while nobody talks; the first caller then waits for a start')
param minReplicas string = '0'
param maxReplicas string = '10'

@description('Streams on one replica before another is started: docs/performance.md')
param concurrentRequests string = '50'

@description('Seconds without a request before the last replica ends')
param cooldownS string = '300'
param cpu string = '0.5'
param memory string = '1Gi'

var port = 8000
var health = {
  path: '/health'
  port: port
}
var settings = {
  PORT: string(port)
  AZURE_CLIENT_ID: identityClientId
  AZURE_AI_PROJECT_ENDPOINT: projectEndpoint
  AZURE_AI_AGENT_ID: agentId
  AZURE_OPENAI_ENDPOINT: empty(agentId) ? openAiEndpoint : ''
  AZURE_OPENAI_DEPLOYMENT_NAME: empty(agentId) ? openAiDeploymentName : ''
  ALLOWED_ORIGINS: allowedOrigins
  MAX_STREAMS: maxStreams
  MAX_MESSAGE_CHARS: maxMessageChars
  MAX_BODY_BYTES: maxBodyBytes
  UPSTREAM_IDLE_TIMEOUT_S: upstreamIdleTimeoutS
  ANSWER_DEADLINE_S: answerDeadlineS
  SEND_TIMEOUT_S: sendTimeoutS
  DRAIN_S: drainS
  PING_S: pingS
  CONVERSATION_POOL_SIZE: conversationPoolSize
  CONVERSATION_STOCK: conversationStock // the former name
  CHAT_PAGE: chatPage
  OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT: otelInstrumentationGenaiCaptureMessageContent
  LOG_LEVEL: logLevel
  LOG_FORMAT: logFormat
  AUTH: auth
  AUTH_TENANT_ID: authTenantId
  AUTH_AUDIENCE: authAudience
  AUTH_SCOPE: authScope
  AUTH_ROLE: authRole
  RATE_LIMIT: rateLimit
  MAX_STREAMS_PER_CALLER: maxStreamsPerCaller
  TRUSTED_HOPS: trustedHops
  DOCS: docs
  PUBLIC_PAGES: publicPages
}
var allowedRanges = empty(allowedIps) ? [] : split(allowedIps, ',')
var signsIn = trim(auth) == 'easyauth' // the service trims its settings, too
var given = filter(items(settings), setting => !empty(setting.value))
var plainVariables = [
  for setting in given: {
    name: setting.key
    value: setting.value
  }
]
// Written out one by one: a loop over secure values hides them from the linter and from `bicep snapshot`.
var secrets = concat(
  empty(conversationKeys) ? [] : [{ name: 'conversation-keys', value: conversationKeys }],
  empty(apiKeys) ? [] : [{ name: 'api-keys', value: apiKeys }],
  empty(rateLimitStorageUri) ? [] : [{ name: 'rate-limit-storage-uri', value: rateLimitStorageUri }]
)
var secretVariables = concat(
  empty(conversationKeys) ? [] : [{ name: 'CONVERSATION_KEYS', secretRef: 'conversation-keys' }],
  empty(apiKeys) ? [] : [{ name: 'API_KEYS', secretRef: 'api-keys' }],
  empty(rateLimitStorageUri) ? [] : [{ name: 'RATE_LIMIT_STORAGE_URI', secretRef: 'rate-limit-storage-uri' }]
)
// Known only when the deployment runs, so it cannot be in `settings`: a `for` refuses such values (BCP178).
var runtimeVariables = [
  {
    name: 'APPLICATIONINSIGHTS_CONNECTION_STRING'
    value: insights.properties.ConnectionString // an address: local authentication is off
  }
]
var probes = [
  {
    type: 'Startup'
    httpGet: health
    periodSeconds: 3
    timeoutSeconds: 3
    failureThreshold: 10
  }
  {
    type: 'Readiness'
    httpGet: health
    periodSeconds: 5
    timeoutSeconds: 3
    failureThreshold: 3
  }
  {
    type: 'Liveness'
    httpGet: health
    periodSeconds: 10
    timeoutSeconds: 5
    failureThreshold: 6
  }
]
var registries = [
  {
    server: registryEndpoint
    identity: identity.id
  }
]

resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' existing = {
  name: identityName
}

resource insights 'Microsoft.Insights/components@2020-02-02' existing = {
  name: insightsName
}

resource environment 'Microsoft.App/managedEnvironments@2025-07-01' existing = {
  name: containerAppsEnvironmentName
}

// A revision with AUTH=easyauth believes headers that only the sign-in in front of it may write. So the sign-in is there
// first, on an app that cannot be reached yet if there is none (docs/decisions/0014-sign-in-first.md).
module unexposedApp 'modules/unexposed-app.bicep' = if (signsIn && appExists != 'true') {
  name: 'unexposed-app'
  params: {
    appName: appName
    location: location
    environmentId: environment.id
    identityId: identity.id
    image: image
    port: port
    registries: registries
    probes: probes
  }
}

module signInOn 'modules/sign-in.bicep' = if (signsIn) {
  name: 'sign-in-on'
  params: {
    appName: appName
    enabled: true
    clientId: easyAuthClientId
  }
  dependsOn: [unexposedApp]
}

resource app 'Microsoft.App/containerApps@2025-07-01' = {
  name: appName
  location: location
  tags: {
    'azd-env-name': environmentName
    'azd-service-name': 'chat-api'
  }
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: { '${identity.id}': {} }
  }
  properties: {
    environmentId: environment.id
    workloadProfileName: 'Consumption'
    configuration: {
      activeRevisionsMode: 'Single'
      ingress: {
        external: true
        targetPort: port
        transport: 'auto'
        allowInsecure: false // http is redirected
        ipSecurityRestrictions: [
          for (range, i) in allowedRanges: {
            name: 'allowed-${i}'
            action: 'Allow'
            ipAddressRange: trim(range)
          }
        ]
      }
      secrets: secrets
      registries: registries
    }
    template: {
      terminationGracePeriodSeconds: int(drainS) + 10 // the drain, the last words and the end: gateway/server.py
      containers: [
        {
          name: 'chat-api'
          image: image
          resources: {
            cpu: json(cpu)
            memory: memory
          }
          env: concat(plainVariables, secretVariables, runtimeVariables)
          probes: probes
        }
      ]
      scale: {
        minReplicas: int(minReplicas)
        maxReplicas: int(maxReplicas)
        cooldownPeriod: int(cooldownS)
        rules: [
          {
            name: 'streams'
            http: { metadata: { concurrentRequests: concurrentRequests } }
          }
        ]
      }
    }
  }
  dependsOn: [signInOn]
}

// Switched off again when AUTH is another mode, after the revision that no longer believes the sign-in's headers.
module signInOff 'modules/sign-in.bicep' = if (!signsIn) {
  name: 'sign-in-off'
  params: {
    appName: appName
    enabled: false
  }
  dependsOn: [app]
}
