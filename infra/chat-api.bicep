// The app. azd deploys this file (not main.bicep) at `azd deploy`, when the image is in the registry: each deployment is
// one revision with its own image, settings, port and probes. Parameters are strings, as azd hands them over;
// an empty setting is left out, so that the service's own default holds (gateway/settings.py).
targetScope = 'resourceGroup'

param location string = resourceGroup().location
param environmentName string
param appName string
param image string
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
  CONVERSATION_STOCK: conversationStock
  CHAT_PAGE: chatPage
  APPLICATIONINSIGHTS_CONNECTION_STRING: insights.properties.ConnectionString // an address: its keys are off
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
var secretSettings = [
  {
    variable: 'CONVERSATION_KEYS'
    name: 'conversation-keys'
    set: !empty(conversationKeys)
  }
  {
    variable: 'API_KEYS'
    name: 'api-keys'
    set: !empty(apiKeys)
  }
  {
    variable: 'RATE_LIMIT_STORAGE_URI'
    name: 'rate-limit-storage-uri'
    set: !empty(rateLimitStorageUri)
  }
]
var secretValues = {
  'conversation-keys': conversationKeys
  'api-keys': apiKeys
  'rate-limit-storage-uri': rateLimitStorageUri
}
var givenSecrets = filter(secretSettings, secret => secret.set)
var allowedRanges = empty(allowedIps) ? [] : split(allowedIps, ',')
var signsIn = auth == 'easyauth'
var given = filter(items(settings), setting => !empty(setting.value))
var plainVariables = [
  for setting in given: {
    name: setting.key
    value: setting.value
  }
]
var secretVariables = [
  for secret in givenSecrets: {
    name: secret.variable
    secretRef: secret.name
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
      secrets: [
        for secret in givenSecrets: {
          name: secret.name
          value: secretValues[secret.name]
        }
      ]
      registries: [
        {
          server: registryEndpoint
          identity: identity.id
        }
      ]
    }
    template: {
      terminationGracePeriodSeconds: int(drainS) + 10 // the drain, the last words and the end: gateway/drain.py
      containers: [
        {
          name: 'chat-api'
          image: image
          resources: {
            cpu: json(cpu)
            memory: memory
          }
          env: concat(plainVariables, secretVariables)
          probes: [
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
}

// Always made, so that it is switched off again with AUTH. Callers get 401, not a page to sign in: this is an API.
resource signIn 'Microsoft.App/containerApps/authConfigs@2025-07-01' = {
  parent: app
  name: 'current'
  properties: {
    platform: { enabled: signsIn }
    globalValidation: {
      unauthenticatedClientAction: signsIn ? 'Return401' : 'AllowAnonymous'
      excludedPaths: ['/health', '/api/health']
    }
    httpSettings: { requireHttps: true }
    identityProviders: signsIn
      ? {
          azureActiveDirectory: {
            enabled: true
            registration: {
              clientId: easyAuthClientId
              openIdIssuer: '${az.environment().authentication.loginEndpoint}${tenant().tenantId}/v2.0'
            }
            validation: {
              allowedAudiences: [easyAuthClientId, 'api://${easyAuthClientId}']
            }
          }
        }
      : {}
  }
}
